"""Key frames of a nuScenes-format data set as sets, in the ego frame of Occ3D's truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nuscenes.nuscenes import NuScenes

from renderocc_ros.config import RigConfig
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.image_decoding import decode_image, reduced_model
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor
from renderocc_training.sequences.nuscenes_source import MICROSECOND_NS, camera_of, transform

LIDAR = "LIDAR_TOP"


class NuscenesSets:
    """(token, set) of every key frame of one scene.

    A set's ego frame is the ego pose at the LiDAR's stamp, in which Occ3D's truth is given.

    Args:
        database: opened by nuscenes-devkit.
        scene: its record.
        rig: cameras by their channel names; one that a sample lacks is missing in its set.

    Attributes:
        skipped: what did not go into a set, by (what, why).
    """

    def __init__(
        self, database: NuScenes, scene: dict[str, Any], rig: RigConfig, image: ImageConfig
    ) -> None:
        self.skipped: Counter[tuple[str, str]] = Counter()
        self._database, self._scene, self._rig = database, scene, rig
        self._preprocessor = ImagePreprocessor(image)

    def __iter__(self) -> Iterator[tuple[str, CameraSet]]:
        token = self._scene["first_sample_token"]
        while token:
            sample = self._database.get("sample", token)
            camera_set = self._set(sample)
            if camera_set is not None:
                yield token, camera_set
            token = sample["next"]

    def _set(self, sample: dict[str, Any]) -> CameraSet | None:
        here = self._reading_record(sample, LIDAR)
        if here is None:
            self.skipped["sets", f"no {LIDAR}, whose ego pose the truth is given in"] += 1
            return None
        global_from_ego = transform(self._database.get("ego_pose", here["ego_pose_token"]))
        posed_images: dict[str, PosedImage] = {}
        for name in self._rig.names:
            record = self._reading_record(sample, name)
            if record is None:
                self.skipped[f"images of {name}", "not in the sample"] += 1
                continue
            mount = self._database.get("calibrated_sensor", record["calibrated_sensor_token"])
            there = transform(self._database.get("ego_pose", record["ego_pose_token"]))
            model = camera_of(record, mount)
            reduction = self._preprocessor.reduction(model)
            try:
                data = Path(self._database.dataroot, record["filename"]).read_bytes()
                image = decode_image(data, reduction)
            except (OSError, ValueError) as error:
                self.skipped[f"images of {name}", str(error)] += 1
                continue
            posed_images[name] = PosedImage(
                name,
                record["timestamp"] * MICROSECOND_NS,
                image,
                reduced_model(model, reduction),
                global_from_ego.inverse() @ there @ transform(mount),
            )
        needed = self._rig.images_needed
        if len(posed_images) < needed:
            self.skipped["sets", f"fewer than {needed} usable images"] += 1
            return None
        slots = tuple(posed_images.get(name) for name in self._rig.names)
        stamp_ns = sample["timestamp"] * MICROSECOND_NS
        return CameraSet(stamp_ns, self._rig.names, slots, global_from_ego)

    def _reading_record(self, sample: dict[str, Any], channel: str) -> dict[str, Any] | None:
        token = sample["data"].get(channel)
        return self._database.get("sample_data", token) if token else None
