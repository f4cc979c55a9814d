"""Data sets that ``pack`` writes: images of a network's size, and labels a few pixels apart.

``sequences/NAME.npz`` has a sequence's stamps, poses, calibration and boxes; it is written when all
of the rest is there. Images are ``images/CAMERA/TOKEN.webp``. Labels lie where ``extract`` puts
label images, with one number for each block of ``LABEL_STRIDE_PX`` by ``LABEL_STRIDE_PX`` pixels,
which is that of the pixel in its middle.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.files import write_arrays, write_bytes
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.outside_data import DamagedFile, parsing, read_arrays, read_json
from renderocc_training.sequences.model import (
    BoxTrack,
    CameraImage,
    Frame,
    Origin,
    RecordedSequence,
)
from renderocc_training.sequences.nuscenes_splits import with_splits

FORMAT = 1  # raise when what is written changes
LABEL_STRIDE_PX = 4
INDEX = "packed.json"
CURE = "pack or copy it again"
POSES = ("frame_poses", "image_mounts", "image_poses", "box_poses")


def begin_packing(root: Path, settings: dict[str, Any], names: Iterable[str]) -> None:
    """Write down what a folder is going to hold.

    Args:
        settings: all that decides what is written of a sequence; no other ones are mixed with them.
        names: of sequences that come to those that are there.

    Raises:
        ValueError: the folder holds something else, or what was packed with other settings.
    """
    there: list[str] = []
    settings = json.loads(json.dumps({"format": FORMAT, **settings}))
    if (root / INDEX).is_file():
        index = _read_index(root)
        there = index["sequences"]
        changed = sorted(k for k, v in settings.items() if index["settings"].get(k) != v)
        if changed:
            raise ValueError(
                f"{root} was packed with other settings ({', '.join(changed)}): give those, or "
                "another folder"
            )
    elif any(not file.name.startswith(".") for file in root.glob("*")):
        raise ValueError(f"{root} holds something else than a packed data set: give a new folder")
    index = {"settings": settings, "sequences": sorted({*there, *names})}
    write_bytes(root / INDEX, f"{json.dumps(index, indent=1)}\n".encode())


def is_packed(root: Path, sequence: RecordedSequence) -> bool:
    """Whether a sequence has been packed whole.

    Raises:
        ValueError: it is there, but made from other frames.
    """
    file = _file(root, sequence.name)
    try:
        made_from = _read(file)[0]["made_from"]
    except DamagedFile:  # or none
        return False
    if made_from != sequence.fingerprint:
        raise ValueError(
            f"{file} was packed from other frames than '{sequence.name}' has now: give another "
            "folder"
        )
    return True


def image_file(root: Path, camera: str, token: str) -> Path:
    """Where the image of a frame lies."""
    return root / "images" / camera / f"{token}.webp"


def write_sequence(sequence: RecordedSequence, made_from: RecordedSequence) -> int:
    """Write what the files of images and labels do not say; gives the number of bytes.

    Args:
        sequence: with packed images; its LiDAR, and what lies between key frames, is left out.
        made_from: the sequence as it was.
    """
    placed = [
        (frame.number, place, camera)
        for frame in sequence.frames
        for place, camera in enumerate(frame.cameras)
        if camera is not None
    ]
    images = [camera for _, _, camera in placed]
    models = list(dict.fromkeys(camera.model for camera in images))
    tracks = sequence.tracks.values()
    about = {
        "made_from": made_from.fingerprint,
        "camera_names": sequence.camera_names,
        "tokens": [frame.token for frame in sequence.frames],
        "models": [asdict(model) | {"intrinsics": model.intrinsics.tolist()} for model in models],
        "tracks": [(t.category, t.size_m, len(t.stamps_ns), t.instance) for t in tracks],
        "has_key_frames": sequence.has_key_frames,
        "origin": asdict(sequence.origin),
        "problems": sequence.problems,
    }
    arrays = {
        "about": np.array(json.dumps(about)),
        "frame_stamps": _stamps(frame.stamp_ns for frame in sequence.frames),
        "frame_poses": _matrices(frame.world_from_ego for frame in sequence.frames),
        "image_places": np.array([(n, c, models.index(i.model)) for n, c, i in placed], np.int32),
        "image_stamps": _stamps(each.stamp_ns for each in images),
        "image_mounts": _matrices(each.ego_from_sensor for each in images),
        "image_poses": _matrices(each.world_from_ego for each in images),
        "box_stamps": _stamps(stamp for track in tracks for stamp in track.stamps_ns),
        "box_poses": _matrices(pose for track in tracks for pose in track.world_from_box),
    }
    file = _file(sequence.root, sequence.name)
    write_arrays(file, arrays)
    return file.stat().st_size


def packed_sequences(root: Path, names: Sequence[str] = ()) -> list[RecordedSequence]:
    """The sequences of these names, or all.

    Raises:
        ValueError: no packed data set, or a sequence is not there, not finished, or damaged.
    """
    if not (root / INDEX).is_file():
        raise ValueError(f"{root} has no {INDEX}: give a folder that `renderocc pack` wrote")
    known = _read_index(root)["sequences"]
    names = with_splits(names, known)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no sequence {', '.join(unknown)} in {root}; there: {', '.join(known)}")
    wanted = names or known
    missing = [name for name in wanted if not _file(root, name).is_file()]
    if missing:
        raise ValueError(
            f"{root} lacks {', '.join(missing)}: packing was interrupted, call `renderocc pack` "
            "again"
        )
    return [_sequence(root, name) for name in wanted]


def _read_index(root: Path) -> dict[str, Any]:
    index = read_json(root / INDEX, CURE)
    with parsing(root / INDEX, CURE):
        if index["settings"]["format"] != FORMAT:
            raise ValueError("another version wrote it")
        return {
            "settings": dict(index["settings"]),
            "sequences": list(map(str, index["sequences"])),
        }


def _file(root: Path, name: str) -> Path:
    return root / "sequences" / f"{name}.npz"


def _read(file: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    arrays = read_arrays(file, CURE)
    with parsing(file, CURE):
        about: dict[str, Any] = json.loads(str(arrays.pop("about")))
        return about, arrays


def _sequence(root: Path, name: str) -> RecordedSequence:
    file = _file(root, name)
    about, arrays = _read(file)
    with parsing(file, CURE):
        poses = {key: [*map(RigidTransform.from_matrix, arrays[key])] for key in POSES}
        models = [
            CameraModel(**model | {"centre_m": tuple(model["centre_m"])})
            for model in about["models"]
        ]
        cameras = about["camera_names"]
        images: dict[tuple[int, int], CameraImage] = {}
        for i, (number, camera, model) in enumerate(arrays["image_places"].tolist()):
            images[number, camera] = CameraImage(
                cameras[camera],
                int(arrays["image_stamps"][i]),
                image_file(root, cameras[camera], about["tokens"][number]),
                poses["image_mounts"][i],
                poses["image_poses"][i],
                models[model],
            )
        frames = tuple(
            Frame(
                token,
                number,
                int(arrays["frame_stamps"][number]),
                poses["frame_poses"][number],
                tuple(images.get((number, camera)) for camera in range(len(cameras))),
            )
            for number, token in enumerate(about["tokens"])
        )
        return RecordedSequence(
            name,
            root,
            tuple(cameras),
            frames,
            _tracks(about["tracks"], arrays["box_stamps"].tolist(), poses["box_poses"]),
            has_key_frames=about["has_key_frames"],
            origin=Origin(**about["origin"]),
            problems=tuple(about["problems"]),
        )


def _tracks(
    about: Sequence[Any], stamps_ns: Sequence[int], poses: Sequence[RigidTransform]
) -> dict[int, BoxTrack]:
    tracks, first = {}, 0
    for number, (category, size_m, count, instance) in enumerate(about):
        of_track = slice(first, first + count)
        stamps, boxes = tuple(stamps_ns[of_track]), tuple(poses[of_track])
        tracks[number] = BoxTrack(category, tuple(size_m), stamps, boxes, instance)
        first += count
    return tracks


def _stamps(stamps_ns: Iterable[int]) -> NDArray[np.int64]:
    return np.array([*stamps_ns], np.int64)


def _matrices(poses: Iterable[RigidTransform]) -> NDArray[np.float64]:
    """(P, 4, 4)."""
    return np.array([pose.matrix for pose in poses], np.float64).reshape(-1, 4, 4)
