"""Where 2D labels come from: a short YAML file, and the labeller that it stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import StrictModel, config_path, load_yaml
from renderocc_training.sequences.data_sets import DataFormat
from renderocc_training.sequences.model import LABEL_FOLDER, Frame, RecordedSequence
from renderocc_training.supervision.labels.box_semantics import BoxClasses
from renderocc_training.supervision.labels.cache import LabelStore, file_state
from renderocc_training.supervision.labels.degraded import DegradedLabels
from renderocc_training.supervision.labels.dense import DenseLabels, WithClassImages
from renderocc_training.supervision.labels.interface import (
    ClassImages,
    NoClasses,
    PixelLabeller,
    PointClasses,
    RangeImages,
)
from renderocc_training.supervision.labels.label_images import (
    ClassImageFiles,
    DepthImageFiles,
    label_image_file,
)
from renderocc_training.supervision.labels.lidar_depth import LidarLabels
from renderocc_training.supervision.labels.lidar_semantics import PointFileClasses
from renderocc_training.supervision.labels.mapping import (
    load_boxes,
    load_names,
    load_numbers,
    mapping_path,
)

DepthSource = Literal["lidar", "images", "mono", "none"]
ClassSource = Literal["boxes", "points", "images", "segmentation", "none"]


def default_mapping(
    semantics: str, format: DataFormat = "nuscenes", root: Path | None = None
) -> str | None:
    """Name of the shipped mapping file that fits a data set; None where classes need none.

    Args:
        semantics: where classes come from.
        format: layout of the data set.
        root: its folder; not needed for layouts that `extract` does not write.

    Raises:
        ValueError: point labels that `extract` took from a recording, in whatever numbers it had.
    """
    if semantics == "boxes":
        return "ddad_boxes" if format == "ddad" else "nuscenes_boxes"
    if semantics == "segmentation":
        return "cityscapes"
    if semantics != "points":
        return None
    if format == "semantickitti":
        return "semantickitti"
    recorded = None if root is None else root / LABEL_FOLDER / "points"
    if recorded is not None and recorded.is_dir():
        raise ValueError(
            f"the point labels in {recorded} are numbers of a recording's own 'label' field: say "
            "what they mean by --set mapping=occ3d_ids (ids of classes, as in simulated drives), "
            "semantickitti, nuscenes_lidarseg, or a .yaml"
        )
    return "nuscenes_lidarseg"


class LabelSource(StrictModel):
    """Where the range and the class of pixels come from; every default stands here."""

    depth: DepthSource = Field("lidar", description="where the range of pixels comes from")
    semantics: ClassSource = Field("boxes", description="where the class of pixels comes from")
    mapping: str | None = Field(
        None,
        description="mapping file, or the name of a shipped one; if not given, that of the data "
        "set's layout",
    )
    sweeps: int = Field(0, ge=0, description="further LiDAR sweeps, nearest in time, to add")
    ego_radius_m: float | None = Field(
        None,
        ge=0,
        description="points nearer to the LiDAR than this, seen from above, are returns off the "
        "robot; that of the rig if not given",
    )
    road_mask: Path | None = Field(
        None, description="map (as nuScenes has it) instead of the data set's own, for boxes"
    )
    stride_px: int = Field(
        8, gt=0, description="distance of the pixels that get labels from images"
    )
    segmentation_model: str | None = Field(
        None, description="hub name or folder, for semantics from segmentation"
    )
    min_probability: float = Field(
        0.6, ge=0, le=1, description="below it a segmentation model counts as unsure"
    )
    depth_model: str | None = Field(None, description="hub name or folder, for depth from mono")
    mono_farthest_m: float = Field(
        60.0, gt=0, description="depths of the mono model beyond this are not used"
    )
    range_noise: float = Field(
        0.0,
        ge=0,
        le=1,
        description="makes ranges worse, to measure what training stands: standard deviation of "
        "the logarithm of the factor that they are off by, smooth over an image",
    )
    wrong_classes: float = Field(
        0.0, ge=0, le=1, description="share of the pixels that get the class of another one"
    )

    @model_validator(mode="after")
    def _sources_fit(self) -> LabelSource:
        if self.semantics in ("boxes", "points") and self.depth != "lidar":
            raise ValueError(
                f"semantics = '{self.semantics}' labels LiDAR points, but depth = "
                f"'{self.depth}'; use depth = 'lidar', or classes of images or segmentation"
            )
        if self.semantics == "segmentation" and not self.segmentation_model:
            raise ValueError("semantics = 'segmentation' needs segmentation_model")
        if self.depth == "mono" and not self.depth_model:
            raise ValueError("depth = 'mono' needs depth_model")
        if self.depth == "none" and self.semantics == "none":
            raise ValueError("depth and semantics are both 'none': that labels nothing")
        return self

    @property
    def mapping_file(self) -> Path | None:
        """The mapping file that is used."""
        name = self.mapping or default_mapping(self.semantics)
        return mapping_path(name) if name else None

    def fingerprint(self, class_set: ClassSet) -> dict[str, Any]:
        """All that decides the labels, with the mapping file's content and models' file states."""
        file = self.mapping_file
        models = (self.segmentation_model, self.depth_model)
        folders = [Path(model) for model in models if model and Path(model).is_dir()]
        return {
            **self.model_dump(mode="json", exclude={"mapping"}),
            "models": [[file_state(file) for file in sorted(each.iterdir())] for each in folders],
            "mapping": file.read_text(encoding="utf-8") if file else "",
            "classes": list(class_set.names),
            "moving": sorted(class_set.moving_ids),
        }

    def files(self, sequence: RecordedSequence, frame: Frame) -> list[Path]:
        """Files beside images and sweeps that a frame's labels are made from: maps, label files."""
        inputs: list[Path] = []
        road_mask = self.road_mask or sequence.road_mask
        if self.semantics == "boxes" and road_mask is not None:
            inputs.append(road_mask)
        if self.semantics == "points":
            sweeps = filter(None, (frame.lidar, *frame.sweeps))
            inputs += [sweep.labels for sweep in sweeps if sweep.labels is not None]
        cameras = [camera for camera in frame.cameras if camera is not None]
        for kind, source in (("depth", self.depth), ("classes", self.semantics)):
            if source == "images":
                inputs += [label_image_file(sequence, kind, camera) for camera in cameras]
        return inputs


def load_label_source(name: str) -> LabelSource:
    """A label source by the name of a shipped one ("lidar", "images") or by path."""
    return load_yaml(config_path("label_sources", name), LabelSource)


def make_labeller(config: LabelSource, class_set: ClassSet, device: str = "cpu") -> PixelLabeller:
    """The labeller of a configuration; models are loaded now.

    Raises:
        ValueError: a mapping that does not fit, or a model that cannot be loaded.
    """
    labeller = _labeller(config, class_set, device)
    if not config.range_noise and not config.wrong_classes:
        return labeller
    return DegradedLabels(class_set, labeller, config.range_noise, config.wrong_classes)


def _labeller(config: LabelSource, class_set: ClassSet, device: str) -> PixelLabeller:
    images = _class_images(config, class_set, device)
    if config.depth != "lidar":
        return DenseLabels(class_set, images, _range_images(config, device), config.stride_px)
    points = point_classes(config, class_set)
    lidar = LidarLabels(class_set, points, config.sweeps, config.ego_radius_m)
    if images is None:
        return lidar
    return WithClassImages(class_set, lidar, images, config.stride_px)


def open_store(
    config: LabelSource, class_set: ClassSet, folder: Path | None, device: str = "cpu"
) -> LabelStore:
    """Labels of a configuration, kept in a folder; see ``LabelStore``."""
    labeller = make_labeller(config, class_set, device)
    return LabelStore(labeller, folder, config.fingerprint(class_set), config.files)


def point_classes(config: LabelSource, class_set: ClassSet) -> PointClasses:
    """What gives the points of a LiDAR their classes.

    Raises:
        ValueError: a mapping that does not fit.
    """
    name = str(config.mapping_file)
    if config.semantics == "boxes":
        return BoxClasses(class_set, load_boxes(name), config.road_mask)
    if config.semantics == "points":
        return PointFileClasses(class_set, load_numbers(name))
    return NoClasses()


def _class_images(config: LabelSource, class_set: ClassSet, device: str) -> ClassImages | None:
    name = str(config.mapping_file)
    if config.semantics == "images":
        return ClassImageFiles(class_set, load_numbers(name) if config.mapping else None)
    if config.semantics == "segmentation" and config.segmentation_model:
        from renderocc_training.supervision.labels.segmentation import load_segmentation

        return load_segmentation(
            config.segmentation_model, class_set, load_names(name), config.min_probability, device
        )
    return None


def _range_images(config: LabelSource, device: str) -> RangeImages | None:
    if config.depth == "images":
        return DepthImageFiles()
    if config.depth == "mono" and config.depth_model:
        from renderocc_training.supervision.labels.mono_depth import load_mono_depth

        return load_mono_depth(config.depth_model, config.mono_farthest_m, device)
    return None
