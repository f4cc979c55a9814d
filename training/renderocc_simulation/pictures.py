"""Pictures of a key frame: what the cameras saw, and the truth about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import load_class_set
from renderocc_ros.files import write_image
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.viewing.colours import Picture, class_colours, range_colours
from renderocc_simulation.bag_truth import TruthFrame, TruthImage, truth_frames
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.message_content import stamp_ns

WIDEST = 1584  # pixels of a sheet


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """One key frame to look at: images (H, W, 3) uint8 RGB by camera, and the truth."""

    images: Mapping[str, Picture]
    truth: TruthFrame


def read_key_frame(path: Path, number: int) -> KeyFrame:
    """The ``number``-th key frame of a bag with truth.

    Raises:
        ValueError: the bag has fewer, or no truth at all.
    """
    count = 0
    for truth in truth_frames(path):
        if count == number:
            return KeyFrame(_images(path, truth), truth)
        count += 1
    raise ValueError(f"{path} has {count} key frames; {number} is not one of 0 to {count - 1}")


def _images(path: Path, truth: TruthFrame) -> dict[str, Picture]:
    """The image that was taken with each depth image."""
    shown: dict[str, tuple[int, Picture]] = {}
    with BagReader(path) as bag:
        topics = [t for t in bag.topics if t.endswith(("/image_raw", "/image_raw/compressed"))]
        window = (truth.stamp_ns - 200_000_000, truth.stamp_ns + 200_000_000)
        for recorded in bag.messages(topics, *window):
            message = bag.decode(recorded)
            gap = abs(stamp_ns(message) - truth.stamp_ns)
            frame = message.header.frame_id
            if frame in shown and shown[frame][0] <= gap:
                continue
            if recorded.topic.endswith("/compressed"):
                bgr = cv2.imdecode(np.asarray(message.data, np.uint8), cv2.IMREAD_COLOR)
                if bgr is None:
                    continue
                shown[frame] = (gap, np.asarray(bgr[..., ::-1], dtype=np.uint8))
            else:
                shape = (message.height, message.width, 3)
                shown[frame] = (gap, np.asarray(message.data, np.uint8).reshape(shape))
    return {image.camera: shown[image.frame][1] for image in truth.images if image.frame in shown}


def depth_picture(image: TruthImage) -> Picture:
    """Depth (H, W, 3) in colour."""
    return range_colours(np.where(image.depth_m == 0, np.inf, image.depth_m))


def class_picture(image: TruthImage, classes: ClassSet) -> Picture:
    """Classes (H, W, 3) in their colours."""
    if image.class_id is None:
        raise ValueError(f"camera '{image.camera}' has no class images in this recording")
    return class_colours(image.class_id, classes)


def lidar_picture(image: TruthImage, picture: Picture, frame: TruthFrame) -> Picture:
    """The LiDAR's points over a darkened image, coloured by distance."""
    result = (picture * 0.45).astype(np.uint8)
    if frame.lidar_points is None:
        return result
    local = image.ego_from_camera.inverse().apply(frame.lidar_points)
    pixels, inside = image.model.project(local)
    order = np.argsort(-local[inside][:, 2])
    colours = range_colours(local[inside][order][:, 2]).tolist()
    for (u, v), colour in zip(pixels[inside][order], colours, strict=True):
        cv2.circle(result, (round(u), round(v)), 1, colour, -1)
    return result


def mosaic(pictures: Mapping[str, Picture], columns: int) -> Picture:
    """Pictures of one size side by side, in their order."""
    tiles = list(pictures.values())
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[k : k + columns], axis=1) for k in range(0, len(tiles), columns)]
    return np.concatenate(rows)


def write_pictures(frame: KeyFrame, folder: Path, columns: int = 3) -> list[Path]:
    """Write cameras, depth, classes, LiDAR and truth voxels of a key frame as files.

    Returns:
        the files: JPEG where there is texture, PNG where there are flat colours.
    """
    # Rendering voxels needs the extra "view"; the rest does not.
    from renderocc_ros.viewing.voxel_picture import in_perspective

    classes = load_class_set("occ3d")
    truth = {image.camera: image for image in frame.truth.images}
    cameras = [name for name in frame.images if name in truth]
    sheets = {
        "cameras.jpg": {name: frame.images[name] for name in cameras},
        "depth.jpg": {name: depth_picture(truth[name]) for name in cameras},
        "classes.png": {name: class_picture(truth[name], classes) for name in cameras},
        "lidar.jpg": {
            name: lidar_picture(truth[name], frame.images[name], frame.truth) for name in cameras
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, tiles in sheets.items():
        written.append(_write(folder / name, mosaic(tiles, columns)))
    full = np.full(frame.truth.labels.shape, 255, np.uint8)
    occupancy = SemanticOccupancy(
        frame.truth.stamp_ns, frame.truth.grid, classes, frame.truth.labels, full
    )
    written.append(_write(folder / "voxels.png", in_perspective(occupancy, 1200, 760)))
    return written


def _write(path: Path, picture: Picture) -> Path:
    settings = [cv2.IMWRITE_JPEG_QUALITY, 85] if path.suffix == ".jpg" else []
    height, width = picture.shape[:2]
    if width > WIDEST:
        how = cv2.INTER_AREA if path.suffix == ".jpg" else cv2.INTER_NEAREST
        size = (WIDEST, round(height * WIDEST / width))
        picture = np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)
    write_image(path, np.ascontiguousarray(picture[..., ::-1]), settings)
    return path
