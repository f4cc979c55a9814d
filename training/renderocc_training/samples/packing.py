"""Sequences as small as training needs them; ``sequences.packed`` describes their layout."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.files import write_bytes, write_image
from renderocc_ros.geometry import CameraModel
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.occupancy.grid_file import describe_grid
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor, target_model
from renderocc_training.samples.truth import TruthFolder
from renderocc_training.sequences.model import CameraImage, Frame, RecordedSequence, label_file
from renderocc_training.sequences.packed import LABEL_STRIDE_PX, image_file, write_sequence
from renderocc_training.sequences.sensor_files import read_image
from renderocc_training.supervision.labels.interface import PixelLabeller
from renderocc_training.supervision.rays.auxiliary import always_stands
from renderocc_training.supervision.rays.ray_batch import PixelLabels

TRUTH_FOLDER = "gts"
DEPTH_BITS = 10  # that are kept of a depth: it is off by 0.1 % at most, and files are smaller
MAX_DEPTH_MM = 65_472  # the largest such number of 16 bits; beyond it no range is known


class Packer:
    """Packs sequences into a folder.

    Args:
        root: takes the data set.
        image: size of the images.
        labeller: makes the labels; of each block of pixels the one next to its middle is kept.
        class_set: of the labels.
        quality: of the images, 1 to 100, as WebP has it.
        truth: 3D labels to keep; none if not given.

    Raises:
        ValueError: images of this size do not consist of whole blocks.
    """

    def __init__(
        self,
        root: Path,
        image: ImageConfig,
        labeller: PixelLabeller,
        class_set: ClassSet,
        quality: int,
        truth: TruthFolder | None = None,
    ) -> None:
        if image.width % LABEL_STRIDE_PX or image.height % LABEL_STRIDE_PX:
            raise ValueError(
                f"images of {image.width}x{image.height}: labels are packed at every "
                f"{LABEL_STRIDE_PX}th pixel, so give multiples of {LABEL_STRIDE_PX}"
            )
        self._root, self._image, self._labeller = root, image, labeller
        self._class_set, self._truth = class_set, truth
        self._webp = (cv2.IMWRITE_WEBP_QUALITY, quality)
        self._preprocess = ImagePreprocessor(image, normalise=False)

    def pack(self, sequence: RecordedSequence) -> Counter[str]:
        """Pack a sequence, or go on where it was interrupted; gives bytes by kind.

        Raises:
            ValueError: a file is missing or damaged.
        """
        sizes: Counter[str] = Counter()
        if self._truth is not None:
            folder = self._root / TRUTH_FOLDER / sequence.name
            describe_grid(folder, self._truth.grid, self._class_set.name)
        frames = tuple(self._frame(sequence, frame, sizes) for frame in sequence.frames)
        # Packed labels follow no box; what matters is which places something moved into.
        moving = {n: track for n, track in sequence.tracks.items() if not always_stands(track)}
        packed = replace(
            sequence, root=self._root, frames=frames, tracks=moving, road_mask=None, after=()
        )
        sizes["poses"] = write_sequence(packed, sequence)
        return sizes

    def _frame(self, sequence: RecordedSequence, frame: Frame, sizes: Counter[str]) -> Frame:
        cameras = tuple(
            None if camera is None else self._camera(sequence, frame, camera, sizes)
            for camera in frame.cameras
        )
        if self._truth is not None:
            content = self._truth.file(sequence, frame).read_bytes()
            folder = self._root / TRUTH_FOLDER / sequence.name / frame.token
            write_bytes(folder / "labels.npz", content, durable=False)
            sizes["truth"] += len(content)
        return replace(frame, cameras=cameras, lidars=(), between=(), boxes=())

    def _camera(
        self, sequence: RecordedSequence, frame: Frame, camera: CameraImage, sizes: Counter[str]
    ) -> CameraImage:
        """Write image and labels of a camera, if they are not there yet."""
        packed = replace(
            camera,
            file=image_file(self._root, camera.name, frame.token),
            model=target_model(camera.model, self._image),
        )
        files = [label_file(self._root, kind, packed, ".png") for kind in ("depth", "classes")]
        if not packed.file.is_file():  # the last to be written
            posed = read_image(camera, frame.world_from_ego.inverse(), self._preprocess)
            planes = self._preprocess.planes(camera.name, posed.pixels, posed.model)
            bgr = planes if self._image.channel_order == "bgr" else planes[::-1]
            labels = self._labeller.label(sequence, frame, camera).with_rays(camera.model)
            thin = thinned(labels, camera.model, packed.model, self._class_set.free_id)
            for file, blocks in zip(files, thin, strict=True):
                write_image(file, blocks, (cv2.IMWRITE_PNG_COMPRESSION, 9), durable=False)
            pixels = np.ascontiguousarray(np.moveaxis(bgr, 0, -1))
            write_image(packed.file, pixels, self._webp, durable=False)
        sizes["images"] += packed.file.stat().st_size
        sizes["labels"] += sum(file.stat().st_size for file in files)
        return packed


def thinned(
    labels: PixelLabels, source: CameraModel, target: CameraModel, sky_id: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels of an image as label images of another one from the same place, of one block a pixel.

    Args:
        labels: of pixels of the source's image that have rays.
        source, target: projections of the two.
        sky_id: class of pixels that show the sky.

    Returns:
        (H / 4, W / 4) uint16 millimetres along the target's axis, 0 for unknown; uint8 class ids.
    """
    stride = LABEL_STRIDE_PX
    width, height = target.width // stride, target.height // stride
    centred = replace(target, centre_m=(0.0, 0.0))  # rays begin in the optical centre
    pixels, inside = centred.project(source.rays(labels.pixels))
    labels, pixels = labels[inside], pixels[inside]
    column, row = np.floor((pixels + 0.5) / stride).astype(int).T
    middle = np.stack([column, row], axis=1) * stride + stride // 2
    nearest_first = np.argsort(np.linalg.norm(pixels - middle, axis=1), kind="stable")
    block, first = np.unique((row * width + column)[nearest_first], return_index=True)
    chosen = nearest_first[first]
    range_m, class_id = labels.range_m[chosen], labels.class_id[chosen]
    millimetres = 1000.0 * range_m * target.rays(middle[chosen])[:, 2]
    known = np.isfinite(millimetres) & (millimetres <= MAX_DEPTH_MM)

    def image(values: NDArray[Any], empty: int, kind: type) -> NDArray[Any]:
        blocks: NDArray[Any] = np.full(height * width, empty, kind)
        blocks[block] = values
        return blocks.reshape(height, width)

    return (
        image(_rounded(np.where(known, millimetres, 0)), 0, np.uint16),
        image(np.where(np.isinf(range_m), sky_id, class_id), IGNORE_ID, np.uint8),
    )


def _rounded(millimetres: NDArray[np.float64]) -> NDArray[np.float64]:
    """To whole numbers of ``DEPTH_BITS`` significant bits."""
    step = 2.0 ** np.maximum(np.frexp(millimetres)[1] - DEPTH_BITS, 0)
    return np.asarray(np.round(millimetres / step) * step)
