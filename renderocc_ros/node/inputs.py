"""All of the node's subscriptions: cameras, their synchroniser, and TF."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy
from tf2_ros import Buffer

from renderocc_ros.config import RigConfig, SyncConfig, validate
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.node.camera_input import ArrivedImage, CameraInput
from renderocc_ros.node.clock_events import on_backward_jump
from renderocc_ros.node.diagnostics import Finding, camera_finding, transforms_finding
from renderocc_ros.node.parameters import NodeParameters
from renderocc_ros.node.points_input import PointsInput
from renderocc_ros.node.pose_filter import PoseFilter
from renderocc_ros.node.statistics import Counters, StageTimes
from renderocc_ros.node.stream_watch import UsageWatch, compared_problem
from renderocc_ros.node.synchroniser import CameraSynchroniser
from renderocc_ros.node.transform_input import TransformInput
from renderocc_ros.node.transforms import SetPoses, TransformReader
from renderocc_ros.rig.calibration import centred
from renderocc_ros.rig.matched_set import MatchedSet
from renderocc_ros.rig.self_check import CameraHealth
from renderocc_ros.rig.stamp_matching import StampMatcher


@dataclass(frozen=True, eq=False)
class PosedSet:
    """Images, still serialised, of those cameras that have a calibration and a pose.

    Attributes:
        stamp_ns: the set's stamp.
        images, models, ego_from_camera: by camera name, the same names in each.
        odom_from_ego: at the set's stamp; None for a rig without odometry.
        needed: fewest readable images with which the set is still used.
        last_arrival_s: when the set's last image came, ``time.perf_counter()``.
        ready_s: when all this was known, on the same clock.
    """

    stamp_ns: int
    images: Mapping[str, ArrivedImage]
    models: Mapping[str, CameraModel]
    ego_from_camera: Mapping[str, RigidTransform]
    odom_from_ego: RigidTransform | None
    needed: int
    last_arrival_s: float
    ready_s: float = field(default_factory=time.perf_counter)


class Inputs:
    """From messages to sets of images with calibration and poses.

    Args:
        node: the rclpy node; all callbacks run in its executor.
        rig: all cameras of the robot.
        parameters: which of them, and how.
        on_image: told of each image before its set can be complete.
        on_set: takes each set that is ready.
        on_time_jump: called when the time line starts anew.

    Attributes:
        cameras: those in use, by name.
        points: of the self-check's LiDAR; None if it has none.
    """

    def __init__(
        self,
        node: Any,
        rig: RigConfig,
        parameters: NodeParameters,
        on_image: Callable[[CameraInput, ArrivedImage], None],
        on_set: Callable[[PosedSet], None],
        on_time_jump: Callable[[], None],
        times: StageTimes,
        counters: Counters,
    ) -> None:
        self._node, self._times, self._counters = node, times, counters
        self._on_time_jump = on_time_jump
        self._on_set = on_set
        used = rig_in_use(rig, parameters)
        self._needed = used.images_needed
        qos = QoSProfile(
            depth=parameters.image_depth,
            reliability=ReliabilityPolicy[parameters.image_reliability.upper()],
        )
        self._jumps_seen, self._newest_ns = 0, 0
        # Of what waits, an executor takes first what was subscribed to first: the transforms that
        # a set needs before its images, so it need not wait for them.
        self._buffer = Buffer()
        self._transforms = TransformInput(
            self._buffer, node, lambda: (self._newest_ns, self._images_age_s), self._on_jump
        )
        self.cameras = {
            camera.name: CameraInput(node, camera, qos, self._on_bad) for camera in used.cameras
        }
        self.points: PointsInput | None = None
        if topic := parameters.self_check_points_topic:
            assert used.odom_frame is not None  # rig_in_use
            reader = TransformReader(self._buffer, used.base_frame, used.odom_frame)
            self.points = PointsInput(node, topic, reader, used.odom_frame)
        self._usage = {name: UsageWatch() for name in self.cameras}
        for camera in self.cameras.values():
            camera.registerCallback(partial(on_image, camera))
            camera.registerCallback(self._prefetch)
        self._synchroniser = CameraSynchroniser(
            used, self.cameras, node, stamp_ns_of=lambda image: image.stamp_ns
        )
        self._synchroniser.registerCallback(self._on_matched)
        self._poses = PoseFilter(
            used,
            self._synchroniser,
            self._buffer,
            node,
            wait_s=parameters.transform_timeout_s,
            frame_of=lambda image: image.frame,
        )
        self._poses.registerCallback(self._on_posed)
        for camera in self.cameras.values():
            camera.registerCallback(self._watch_time)
        self._clock_jumps = on_backward_jump(node, self._on_jump)

    @property
    def _images_age_s(self) -> float:
        """Since the last image of any camera; infinite before the first."""
        ages_s = [camera.arrivals.age_s for camera in self.cameras.values()]
        return min((age_s for age_s in ages_s if age_s is not None), default=math.inf)

    @property
    def matcher(self) -> StampMatcher[Any]:
        """The matching, with its counters."""
        return self._synchroniser.matcher

    @property
    def sets_dropped(self) -> dict[str, int]:
        """Sets that never became ready, by reason, since these inputs exist."""
        counts = {reason.value: n for reason, n in self.matcher.counters.sets_dropped.items()}
        for reason, number in self._poses.dropped.items():
            counts[reason] = counts.get(reason, 0) + number
        return counts

    def findings(self, blind_s: float, health: Mapping[str, CameraHealth]) -> list[Finding]:
        """The state of every camera and of the transforms, for diagnostics.

        Args:
            health: what the self-check says of cameras, by name.
            blind_s: for how long this process could not look.
        """
        watches = {name: camera.watch for name, camera in self.cameras.items()}
        frames = {name: camera.config.frame for name, camera in self.cameras.items()}
        cameras = []
        for name, camera in self.cameras.items():
            camera.ask_for_latched_info()
            transform = self._poses.problems.get(name, "")
            unused = self._usage[name].problem(self.matcher.counters, name)
            odd = compared_problem(name, watches, frames)
            checked = health.get(name, CameraHealth())
            cameras.append(
                camera_finding(camera, self.matcher, transform, unused, odd, checked, blind_s)
            )
        points = [self.points.finding(blind_s)] if self.points else []
        return [*cameras, transforms_finding(self._transforms), *points]

    def obstacle(self) -> str:
        """What keeps sets from being ready, of the things that are known of cameras."""
        if self._poses.problems:
            name, text = next(iter(self._poses.problems.items()))
            return f"transforms, camera {name}: {text}"
        for name, camera in self.cameras.items():
            if camera.model is None:
                return f"calibration, camera {name}: {camera.info_problem or camera.info_silence()}"
            if camera.image_problem:
                return f"decoding, camera {name}: {camera.image_problem}"
            if camera.is_silent(0.0):
                return f"matching, camera {name}: {camera.silence()}"
        return ""

    def destroy(self) -> None:
        """Unsubscribe from everything."""
        self._synchroniser.close()
        self._clock_jumps.unregister()
        self._poses.close()
        for camera in self.cameras.values():
            camera.destroy()
        if self.points is not None:
            self.points.destroy()
        self._transforms.destroy()

    def _prefetch(self, image: ArrivedImage) -> None:
        self._poses.prefetch(image.frame, image.stamp_ns)

    def _on_matched(self, matched: MatchedSet[ArrivedImage]) -> None:
        last_s = max(image.item.arrived_s for image in matched.present.values())
        self._times.add("sync", (time.perf_counter() - last_s) * 1e3)
        self._counters.add("sets_complete" if matched.complete else "sets_partial")

    def _on_posed(self, matched: MatchedSet[ArrivedImage], poses: SetPoses) -> None:
        images = {name: image.item for name, image in matched.present.items()}
        last_s = max(image.arrived_s for image in images.values())
        frames = {name: camera.frame for name, camera in self.cameras.items()}
        cameras = {
            name: centred(model, pose, name, frames)
            for name, pose in poses.ego_from_camera.items()
            if (model := self.cameras[name].model) is not None
        }
        self._times.add("sync and transforms", (time.perf_counter() - last_s) * 1e3)
        if len(cameras) < self._needed:
            lacks_info = len(poses.ego_from_camera) >= self._needed
            self._counters.add(f"dropped.no {'CameraInfo' if lacks_info else 'transform'}")
            return
        self._on_set(
            PosedSet(
                stamp_ns=matched.stamp_ns,
                images={name: images[name] for name in cameras},
                models={name: model for name, (model, _) in cameras.items()},
                ego_from_camera={name: pose for name, (_, pose) in cameras.items()},
                odom_from_ego=poses.odom_from_ego,
                needed=self._needed,
                last_arrival_s=last_s,
            )
        )

    def _watch_time(self, image: ArrivedImage) -> None:
        """A bag that starts again moves the stamps back, though the clock may go on."""
        self._newest_ns = self.matcher.newest_ns or self._newest_ns
        if self.matcher.counters.backward_jumps != self._jumps_seen:
            self._jumps_seen = self.matcher.counters.backward_jumps
            self._on_jump()

    def _on_jump(self) -> None:
        """Old transforms would shadow those of the new time line."""
        self._poses.clear()
        self._buffer.clear()
        self._transforms.clear()
        if self.points is not None:
            self.points.clear()
        self._counters.add("time_jumps")
        self._on_time_jump()

    def _on_bad(self, camera: str, reason: str) -> None:
        self._counters.add("bad_images")
        self._counters.add(f"bad_images.{camera}")
        self.cameras[camera].image_problem = f"image on {self.cameras[camera].topic}: {reason}"


def rig_in_use(rig: RigConfig, parameters: NodeParameters) -> RigConfig:
    """The rig with the chosen cameras and the synchronisation that parameters override.

    Raises:
        ValueError: the parameters and the rest of the rig's synchronisation do not go together, or
            a map or the self-check's points are wanted without odometry.
    """
    if parameters.self_check_points_topic and rig.odom_frame is None:
        raise ValueError(
            f"self_check.points_topic = {parameters.self_check_points_topic}, but rig "
            f"'{rig.name}' has no odom_frame, without which nothing is checked: name it in the rig "
            "file, or leave the topic empty"
        )
    if parameters.map_enabled and rig.odom_frame is None:
        raise ValueError(
            f"map.enabled = true, but rig '{rig.name}' has no odom_frame, in which the map would "
            "stand still: name it in the rig file, or set map.enabled to false"
        )
    chosen = parameters.cameras or rig.names
    cameras = tuple(camera for camera in rig.cameras if camera.name in chosen)
    overrides: dict[str, Any] = {}
    if parameters.sync_missing:
        overrides["missing"] = parameters.sync_missing
    if parameters.sync_period_s >= 0:
        overrides["period_s"] = parameters.sync_period_s or None
    if parameters.sync_timeout_s >= 0:
        overrides["timeout_s"] = parameters.sync_timeout_s
    fewest = parameters.sync_min_cameras or rig.sync.min_cameras
    overrides["min_cameras"] = min(fewest, len(cameras))
    names = [camera.name for camera in cameras]
    reference = rig.reference if rig.reference in names else None
    where = f"rig '{rig.name}' with the parameters sync.*"
    sync = validate({**rig.sync.model_dump(), **overrides}, SyncConfig, where)
    return rig.model_copy(update={"cameras": cameras, "sync": sync, "reference": reference})
