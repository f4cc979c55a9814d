"""Which topics of a recording are pictures of a camera, and which are something else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np

from renderocc_ros.config import TRANSPORT_SUFFIXES, Transport
from renderocc_ros.rig.image_decoding import decode_message, image_header
from renderocc_ros.rig.video_stream import PACKET
from renderocc_training.recording.bag_layout import COMPRESSED, IMAGE_KINDS
from renderocc_training.recording.bag_survey import BagSurvey, SurveyedTopic

PictureKind = Literal["colour", "grey", "depth", "infrared", "labels", "drawn"]
# What a word in a topic's name says of its pictures.
WORDS: dict[PictureKind, tuple[str, ...]] = {
    "depth": ("depth", "disparity", "range"),
    "labels": (
        *("class", "classes", "label", "labels", "semantic", "semantics", "segmentation"),
        *("mask", "masks", "instance", "instances", "panoptic"),
    ),
    "infrared": ("infra", "infrared", "ir", "nir", "lwir", "thermal", "boson", "lepton"),
    "drawn": (
        *("rviz", "overlay", "debug", "annotated", "visualization", "visualisation", "viz"),
        *("heatmap", "detections", "tracks", "tracked", "confidence", "features", "matches"),
        *("rendered", "renderocc"),
    ),
}
RECTIFIED = frozenset(("rect", "rectified"))
# Words that name a form of a picture and not a camera.
FORMS = RECTIFIED | {"image", "images", "img", "raw", "color", "colour", "preview", "compressed"}
PREFERRED: tuple[Transport, ...] = ("compressed", "as_named", "raw", "ffmpeg")
DEPTH_FILES = "/compressedDepth"
NO_COLOURS = ("mono8", "mono16", "8UC1")
DEPTHS = ("16UC1", "32FC1", "16SC1")


@dataclass(frozen=True, eq=False)
class Picture:
    """One stream of pictures.

    Attributes:
        image_topic: as the rig file names it: without /compressed.
        topic: what is read of it: its raw images, its files, or its video.
        transport: which of these.
        kind: what it shows.
        size: (width, height), pixels; zeros if no image could be read.
        encoding: of its pixels, or of its files.
        rectified: its name says so.
    """

    image_topic: str
    topic: SurveyedTopic
    transport: Transport
    kind: PictureKind
    size: tuple[int, int]
    encoding: str
    rectified: bool

    @property
    def words(self) -> tuple[str, ...]:
        """Words of its name, without those of its form: the same for raw and rectified ones."""
        return tuple(word for word in words_of(self.image_topic) if word not in FORMS)


def pictures(survey: BagSurvey) -> list[Picture]:
    """The pictures of a recording, one for each image topic whatever transports it has."""
    names = sorted({name for each in survey.topics.values() if (name := image_topic(each))})
    return [_picture(name, survey) for name in names]


def image_topic(topic: SurveyedTopic) -> str:
    """The name that a rig file has for a topic of images; empty if it can have none."""
    if topic.name.endswith(DEPTH_FILES) or not topic.topic.count:
        return ""
    for transport, kind in IMAGE_KINDS.items():
        suffix = TRANSPORT_SUFFIXES[transport]
        if topic.message_type == kind and topic.name.endswith(suffix):
            return topic.name.removesuffix(suffix)
    return ""


def not_pictures(survey: BagSurvey) -> dict[str, str]:
    """Image topics that no rig file can name, and why, with the cure."""
    reasons = {}
    for each in survey.topics.values():
        if each.name.endswith(DEPTH_FILES):
            reasons[each.name] = "depth"
        elif each.message_type == PACKET and not image_topic(each):
            reasons[each.name] = f"rename it to {each.name}/ffmpeg: rigs look there"
        elif each.message_type.endswith("/CompressedVideo"):
            reasons[each.name] = "not read: record ffmpeg_image_transport's or the images' topic"
    return reasons


def words_of(topic: str) -> list[str]:
    """The words of a name in lower case: /frontLeft/image_raw1 is front, left, image, raw, 1."""
    return re.findall(r"[a-z]+|\d+", re.sub(r"([a-z])([A-Z])", r"\1_\2", topic).lower())


def _picture(name: str, survey: BagSurvey) -> Picture:
    transport, topic = _preferred(name, survey)
    size, encoding = (0, 0), _encoding(topic)
    kind = _kind(name, encoding)
    with suppress(ValueError):  # where it is a camera's, its check-up says so
        if topic.first is not None:
            _, size = image_header(topic.first)
            kind = _kind_of_pixels(topic, encoding) if kind == "colour" else kind
    return Picture(
        image_topic=name,
        topic=topic,
        transport=transport,
        kind=kind,
        size=size,
        encoding=encoding,
        rectified=not RECTIFIED.isdisjoint(words_of(name)),
    )


def _preferred(name: str, survey: BagSurvey) -> tuple[Transport, SurveyedTopic]:
    """Files, which extraction copies and which are small, before raw images before video; but not
    what ended early."""
    named = {each: survey.topics.get(name + TRANSPORT_SUFFIXES[each]) for each in PREFERRED}
    sent = [
        (transport, topic)
        for transport, topic in named.items()
        if topic is not None and topic.message_type == IMAGE_KINDS[transport] and topic.topic.count
    ]
    most = max(topic.topic.count for _, topic in sent)
    return next(each for each in sent if 2 * each[1].topic.count >= most)


def _encoding(topic: SurveyedTopic) -> str:
    """Of raw pixels; of files their format, such as "bgr8; jpeg compressed bgr8" or "jpeg"."""
    if topic.first is None:
        return ""
    return str(topic.first.format if topic.message_type == COMPRESSED else topic.first.encoding)


def _kind(name: str, encoding: str) -> PictureKind:
    pixels = encoding.partition(";")[0].strip()
    if pixels in DEPTHS or "compressedDepth" in encoding:
        return "depth"
    words = set(words_of(name))
    kind = next((kind for kind, own in WORDS.items() if words & set(own)), None)
    return kind or ("grey" if pixels in NO_COLOURS else "colour")


def _kind_of_pixels(topic: SurveyedTopic, encoding: str) -> PictureKind:
    """Grey where all three channels are the same: a JPEG's format seldom says so."""
    pixels = decode_message(topic.first, 8 if topic.message_type == COMPRESSED else 1)
    same = np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(
        pixels[..., 1], pixels[..., 2]
    )
    return "grey" if same and not encoding.startswith("bayer") else "colour"


def names_of(topics: list[str]) -> list[str]:
    """A name for each image topic, each once: what its parts say and the others' do not."""
    parts = [list(_naming_parts(topic)) for topic in topics]
    if len(parts) > 1:
        for end in (0, -1):
            while all(len(own) > 1 for own in parts) and len({own[end] for own in parts}) == 1:
                for own in parts:
                    own.pop(end)
    names = ["_".join(own) if len(parts) > 1 else own[-1] for own in parts]
    whole = ["_".join(re.findall(r"\w+", topic)) or "camera" for topic in topics]
    names = [
        name if names.count(name) == 1 else longer
        for name, longer in zip(names, whole, strict=True)
    ]
    unique: list[str] = []
    for name in (name[:100] for name in names):
        number = 2
        chosen = name
        while chosen in unique:
            chosen, number = f"{name}_{number}", number + 1
        unique.append(chosen)
    return unique


def _naming_parts(topic: str) -> Iterator[str]:
    """The parts of a topic without words for forms; "camera" where none is left."""
    left = []
    for part in topic.split("/"):
        kept = [word for word in re.findall(r"[^\W_]+", part) if word.lower() not in FORMS]
        left += ["_".join(kept)] if kept else []
    yield from left or ["camera"]
