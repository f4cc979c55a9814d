"""Configuration: strict, frozen models and the YAML files that fill them.

Every default stands here and nowhere else. A key that no model knows is refused with the nearest
name that one does.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from renderocc_ros.class_set import ClassSet, SemanticClass
from renderocc_ros.files import file_name
from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_ros.paths import share_path
from renderocc_ros.yaml_files import read_yaml

Model = TypeVar("Model", bound="StrictModel")
ConfigFolder = Literal[
    "rigs", "classes", "networks", "recipes", "label_sources", "class_mappings", "studies"
]
MissingPolicy = Literal["wait", "skip", "mask", "reuse"]
Backend = Literal["eager", "compile", "cuda_graph", "openvino"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Transport = Literal["raw", "compressed", "as_named", "ffmpeg"]
TOPIC = re.compile(r"(~?/)?[A-Za-z0-9_{}]+(/[A-Za-z0-9_{}]+)*")  # absolute, private or relative
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # body_from_optical
# Of image_transport: what follows the name of the raw topic.
TRANSPORT_SUFFIXES: dict[Transport, str] = {
    "raw": "",
    "compressed": "/compressed",
    "as_named": "",  # files where image_transport would have raw images
    "ffmpeg": "/ffmpeg",
}
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class StrictModel(BaseModel):
    """Frozen, and every key must be known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------------------------------- the rig


class Mount(StrictModel):
    """Where a sensor sits: metres in the base frame, degrees.

    Angles turn a sensor that looks forward: first roll about x, then pitch (nose down positive)
    about y, then yaw (to the left positive) about z, as in URDF.
    """

    position_m: tuple[float, float, float]
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0

    def base_from_body(self) -> RigidTransform:
        """The pose of the sensor's body (x forward) in the base frame."""
        yaw, pitch, roll = np.deg2rad([self.yaw_deg, self.pitch_deg, self.roll_deg])
        (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
        turn_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        turn_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        turn_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
        return RigidTransform(turn_z @ turn_y @ turn_x, np.array(self.position_m))

    def base_from_optical(self) -> RigidTransform:
        """The pose of a camera's optical frame (z forward, x right) in the base frame."""
        return self.base_from_body() @ RigidTransform(OPTICAL, np.zeros(3))


class CameraConfig(StrictModel):
    """One camera of the rig."""

    name: str = Field(min_length=1, description="unique name, used in messages and reports")
    image_topic: str = Field(min_length=1, description="raw image topic, without /compressed")
    compressed: bool | Literal["as_named", "ffmpeg"] = Field(
        True,
        description="subscribe to <image_topic>/compressed; as_named: CompressedImage on "
        "<image_topic> itself; ffmpeg: to <image_topic>/ffmpeg, the H.264 or H.265 of "
        "ffmpeg_image_transport",
    )
    info_topic: str | None = Field(
        None, description="CameraInfo topic; the image topic's sibling camera_info if not given"
    )
    frame: str | None = Field(
        None, description="optical frame; the frame_id of the image header if not given"
    )
    offset_ms: float | None = Field(
        None,
        description="shutter time relative to the reference camera, milliseconds; learned from "
        "the stream if not given",
    )
    rectified: bool = Field(
        False, description="the images are rectified: project with P, without distortion"
    )
    calibration: str | dict[str, Any] | None = Field(
        None,
        description="file beside this one that holds, instead of CameraInfo: what "
        "camera_calibration writes, or Kalibr's camchain",
    )
    mount: Mount | None = Field(
        None, description="where the camera is, instead of TF; needs 'frame'"
    )

    @field_validator("name")
    @classmethod
    def _names_files(cls, name: str) -> str:
        return file_name(name, "camera")

    @field_validator("image_topic", "info_topic")
    @classmethod
    def _is_a_topic(cls, name: str | None) -> str | None:
        if name is not None and not TOPIC.fullmatch(name):
            raise ValueError("no name of a topic: it has letters, digits, _, and / between words")
        return name

    @field_validator("frame")
    @classmethod
    def _without_slash(cls, frame: str | None) -> str | None:
        return frame and frame.lstrip("/")

    @model_validator(mode="after")
    def _mounted_by_name(self) -> CameraConfig:
        if self.mount is not None and not self.frame:
            raise ValueError(f"camera '{self.name}': 'mount' needs 'frame': its name in results")
        return self

    @property
    def transport(self) -> Transport:
        """How its images are sent."""
        if isinstance(self.compressed, str):
            return self.compressed
        return "compressed" if self.compressed else "raw"

    @property
    def sends_files(self) -> bool:
        """Whether its images are sensor_msgs/CompressedImage."""
        return self.transport in ("compressed", "as_named")

    @property
    def transport_topic(self) -> str:
        """The topic that its images are on."""
        return self.image_topic + TRANSPORT_SUFFIXES[self.transport]

    @property
    def camera_info_topic(self) -> str:
        """Topic of this camera's CameraInfo (image_transport's convention if not given)."""
        if self.info_topic is not None:
            return self.info_topic
        parent, slash, _ = self.image_topic.rpartition("/")
        return f"{parent}{slash}camera_info"


class SyncConfig(StrictModel):
    """How images are matched into sets; see ``renderocc_ros.rig.stamp_matching``."""

    period_s: float | None = Field(
        None, ge=0.001, description="time between two cycles; learned from the stream if not given"
    )
    tolerance_s: float | None = Field(
        None,
        gt=0,
        description="largest distance of a stamp from its camera's expected time; "
        "must be below half a period, 0.4 periods if not given",
    )
    missing: MissingPolicy = Field(
        "mask",
        description="a camera that brings no image: wait for ever, skip the set, mask the camera, "
        "or reuse its last image",
    )
    timeout_s: Seconds = Field(
        0.15, description="how long after its first image a set waits for the other cameras"
    )
    min_cameras: int = Field(1, ge=1, description="fewest images with which a set is still used")
    reuse_max_age_s: Seconds = Field(0.5, description="oldest image that 'reuse' takes")
    buffer_size: int = Field(8, ge=2, description="images kept per camera")

    @model_validator(mode="after")
    def _tolerance_tells_cycles_apart(self) -> SyncConfig:
        if self.period_s and self.tolerance_s and self.tolerance_s >= self.period_s / 2:
            raise ValueError(
                f"tolerance_s = {self.tolerance_s} must be below half of period_s = "
                f"{self.period_s}, or images of two cycles could not be told apart"
            )
        return self


class RigConfig(StrictModel):
    """The cameras of a robot, its frames, and how their images are synchronised."""

    name: str
    cameras: tuple[CameraConfig, ...] = Field(min_length=1)
    reference: str | None = Field(
        None, description="camera whose stamp a set carries; the first if not given"
    )
    base_frame: str = Field("base_link", description="ego frame: x forward, y left, z up")
    odom_frame: str | None = Field(
        "odom", description="frame that does not jump, for ego motion between stamps; null: none"
    )
    ego_radius_m: float | None = Field(
        1.0,
        ge=0,
        description="LiDAR returns nearer to the sensor than this, seen from above, are off the "
        "robot itself and no obstacles; null: it is a car, whose body is left out",
    )
    sync: SyncConfig = SyncConfig()

    @field_validator("base_frame", "odom_frame")
    @classmethod
    def _without_slash(cls, frame: str | None) -> str | None:
        return frame and frame.lstrip("/")  # as tf2 has it

    @model_validator(mode="after")
    def _names_agree(self) -> RigConfig:
        names = [camera.name for camera in self.cameras]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"camera names {twice} stand more than once; each needs its own")
        topics = [camera.image_topic for camera in self.cameras]
        shared = sorted({topic for topic in topics if topics.count(topic) > 1})
        if shared:
            raise ValueError(f"image topics {shared} stand more than once; each camera has its own")
        if self.reference is not None and self.reference not in names:
            raise ValueError(f"reference '{self.reference}' is not a camera: {', '.join(names)}")
        if self.sync.min_cameras > len(names):
            raise ValueError(
                f"sync.min_cameras = {self.sync.min_cameras}, but the rig has {len(names)} cameras"
            )
        return self

    @property
    def mounts(self) -> dict[str, RigidTransform]:
        """``base_from_optical`` by optical frame, of those cameras that have one here."""
        return {
            str(camera.frame): camera.mount.base_from_optical()
            for camera in self.cameras
            if camera.mount is not None
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cameras in their order."""
        return tuple(camera.name for camera in self.cameras)

    @property
    def reference_name(self) -> str:
        """Name of the camera whose stamp a set carries."""
        return self.reference or self.cameras[0].name

    @property
    def images_needed(self) -> int:
        """Fewest usable images with which a set is still used: with 'wait' and 'skip' all."""
        whole_only = self.sync.missing in ("wait", "skip")
        return len(self.cameras) if whole_only else self.sync.min_cameras


# ---------------------------------------------------------------------------------- class sets


class _ClassEntry(StrictModel):
    name: str
    colour: tuple[int, int, int]
    moves: bool = False
    ground: bool = False


class _ClassSetFile(StrictModel):
    name: str
    classes: tuple[_ClassEntry, ...]

    def build(self) -> ClassSet:
        entries = (
            SemanticClass(number, **entry.model_dump()) for number, entry in enumerate(self.classes)
        )
        return ClassSet(self.name, tuple(entries))


class GridConfig(StrictModel):
    """Where the voxels lie in the ego frame."""

    origin_m: tuple[float, float, float] = Field(description="minimum corner, metres")
    resolution_m: float = Field(gt=0, description="edge of a voxel, metres")
    size: tuple[int, int, int] = Field(description="number of voxels along x, y, z")

    def build(self) -> VoxelGrid:
        """The grid itself."""
        return VoxelGrid(self.origin_m, self.resolution_m, self.size)


# -------------------------------------------------------------------------------------- files


def config_path(kind: ConfigFolder, name: str) -> Path:
    """A configuration file by path, or by the name of one that is shipped.

    Args:
        kind: folder below ``config/``.
        name: a path that ends in .yaml, or a shipped name such as "nuscenes".

    Raises:
        ValueError: neither exists; the message lists the shipped names.
    """
    path = Path(os.path.expanduser(name))  # no shell does it behind the := of a launch argument
    if path.suffix not in (".yaml", ".yml"):
        path = share_path("config", kind) / f"{name}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(f.stem for f in share_path("config", kind).glob("*.yaml")))
        raise ValueError(f"no {kind} file '{name}'; give a path to a .yaml or one of: {shipped}")
    return path


def load_yaml(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into a strict model.

    Raises:
        ValueError: not YAML, a key that stands twice, an unknown key (with the nearest known one),
            or a value out of range.
    """
    return validate(read_yaml(path), model, str(path))


def validate(content: dict[str, Any], model: type[Model], where: str) -> Model:
    """Check keys and values against a strict model; ``where`` opens the error message."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = [_explain(problem, model) for problem in error.errors()]
        raise ValueError(f"{where}: " + "; ".join(problems)) from error


def load_class_set(name: str) -> ClassSet:
    """A class set by the name of a shipped one ("occ3d") or by path."""
    return load_yaml(config_path("classes", name), _ClassSetFile).build()


def load_rig(name: str) -> RigConfig:
    """A rig by the name of a shipped one ("nuscenes") or by path."""
    path = config_path("rigs", name)
    rig = load_yaml(path, RigConfig)
    cameras = tuple(_with_calibration(camera, path.parent) for camera in rig.cameras)
    return rig.model_copy(update={"cameras": cameras})


def _with_calibration(camera: CameraConfig, folder: Path) -> CameraConfig:
    """With the content of its calibration file in the place of the file's name."""
    if not isinstance(camera.calibration, str):
        return camera
    file = folder / camera.calibration
    if not file.is_file():
        raise ValueError(f"camera '{camera.name}': calibration: there is no file {file}")
    return camera.model_copy(update={"calibration": read_yaml(file)})


def _explain(problem: Any, model: type[StrictModel]) -> str:
    parents, models = _walk(problem["loc"][:-1], model)
    last = str(problem["loc"][-1]) if problem["loc"] else ""
    is_tag = len(problem["loc"]) > 1 and not _has_key(models, last) and _tagged(models, last)
    key = ".".join(parents if is_tag else [*parents, last])
    if problem["type"] == "extra_forbidden":
        known = list(dict.fromkeys(name for each in models for name in each.model_fields))
        near = difflib.get_close_matches(last, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key '{key}'; {hint}"
    if problem["type"] == "missing":
        return f"'{key}' is missing"
    if problem["type"] == "too_short":
        least, has = problem["ctx"]["min_length"], problem["ctx"]["actual_length"]
        return f"{key}: needs at least {least}, has {has}"
    value = problem["input"]
    shown = "" if isinstance(value, dict | list) else f" (got {value!r:.80})"
    place = f"{key}: " if key else ""
    return f"{place}{problem['msg'].removeprefix('Value error, ')}{shown}"


def _walk(place: Any, model: type[StrictModel]) -> tuple[list[str], list[type[StrictModel]]]:
    """The keys of a place as they stand in the file, and the models that may stand there.

    Pydantic puts into a place, behind the key of a value that may be one of several models, the tag
    that chose the model (``kind: lifted``). No file has it there.
    """
    keys, models = [], [model]
    for part in place:
        if _has_key(models, part):
            inside = [each.model_fields[part] for each in models if part in each.model_fields]
            models = [kind for field in inside for kind in models_in(field.annotation)]
        elif chosen := _tagged(models, part):
            models = chosen
            continue
        keys.append(str(part))
    return keys, models


def _has_key(models: list[type[StrictModel]], part: Any) -> bool:
    return any(part in each.model_fields for each in models)


def _tagged(models: list[type[StrictModel]], tag: Any) -> list[type[StrictModel]]:
    """Those of several models that ``kind: tag`` chooses."""
    kinds = ((each, each.model_fields.get("kind")) for each in models)
    return [each for each, kind in kinds if kind and tag in get_args(kind.annotation)]


def models_in(annotation: Any) -> list[type[StrictModel]]:
    """The models that a value of this type may be; none for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, StrictModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]
