"""A drive's messages: what a robot's recorder would have received, and the truth beside it.

| topic | what |
|---|---|
| the rig's image topics and CameraInfo | JPEG (``/compressed``) or rgb8, each at its own shutter |
| /<lidar>/points | x, y, z, intensity, ring, label (class), time (s, relative to the stamp) |
| /tf, /odom | odom → base_link at 50 Hz; with drift also map → odom |
| /tf_static | base_link → sensors; map → odom without drift; latched |
| /ground_truth/<camera>/depth | 16UC1, millimetres along the optical axis; 0: sky or over 65.5 m |
| /ground_truth/<camera>/classes | mono8: class id; free: sky; 255: the lens has no ray here |
| /ground_truth/occupancy | SemanticOccupancy; ``observed``: what the cameras see |
| /ground_truth/occupancy_lidar | the same labels; ``observed``: what the LiDAR sees |
| /ground_truth/classes | SemanticClasses, latched |
| /ground_truth/boxes, /ground_truth/box_markers | tracked boxes with velocity in the map frame |

Truth comes with key frames. Log times are stamps, but for transforms that a fault delays.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import numpy as np

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.occupancy.messages import to_classes_message, to_message
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_simulation.faults import corrupted, misaligned
from renderocc_simulation.frames import CameraFrame, DriveRenderer, SetFrame
from renderocc_simulation.rig import RigCamera
from renderocc_simulation.sensors.odometry import Odometry, odometry
from renderocc_simulation.spec import LEAD_S, DriveSpec
from renderocc_simulation.world.traffic import Agent
from renderocc_training.recording import boxes, messages
from renderocc_training.recording.bag_writer import LATCHED, BagWriter
from renderocc_training.recording.messages import Message

TRUTH = "/ground_truth"
BOX_RANGE_M = 80.0
CATEGORIES = {  # nuScenes' names
    "others": "movable_object.debris",
    "barrier": "movable_object.barrier",
    "bicycle": "vehicle.bicycle",
    "bus": "vehicle.bus.rigid",
    "car": "vehicle.car",
    "construction_vehicle": "vehicle.construction",
    "motorcycle": "vehicle.motorcycle",
    "pedestrian": "human.pedestrian.adult",
    "traffic_cone": "movable_object.trafficcone",
    "trailer": "vehicle.trailer",
    "truck": "vehicle.truck",
}

Timed = tuple[int, str, Message]  # log time, topic, message


class DriveMessages:
    """Writes a drive's messages in the order of their log times."""

    def __init__(self, bag: BagWriter, spec: DriveSpec, source: DriveRenderer) -> None:
        self._bag, self._spec, self._source = bag, spec, source
        self._queue: list[tuple[int, int, str, Message]] = []
        self._order = count()
        self._last: dict[str, Message] = {}  # image of each camera
        self._numbers: dict[str, int] = {}
        self._standing = {agent.name: self._box(agent, 0.0) for agent in source.town.standing}
        config = source.rig.config
        self._base = config.base_frame
        self._odom = config.odom_frame or "odom"
        end = spec.set_time_s(spec.sets - 1) + 0.2
        self._odometry: Odometry = odometry(
            source.town.world_from_ego,
            0.0,
            end,
            spec.stamp_ns,
            spec.drift,
            np.random.default_rng([spec.town.seed, 9]),
            spec.planar_odometry,
        )

    def begin(self) -> None:
        """Everything that is known before the first set: class table, static and moving frames."""
        start = self._spec.stamp_ns(0.0)
        self._bag.add_topic(f"{TRUTH}/classes", "renderocc_ros/msg/SemanticClasses", LATCHED)
        table = to_classes_message(messages.make, self._source.classes, self._stamp(start))
        self._put(start, f"{TRUTH}/classes", table)
        for timed in (*self._static(start), *self._motion()):
            self._put(*timed)

    def add(self, frame: SetFrame) -> None:
        """One set; sets come in their order."""
        source, spec = self._source, self._spec
        reference = spec.stamp_ns(spec.set_time_s(frame.number))
        self._flush(reference - 60_000_000)
        for camera in source.rig.cameras:
            for timed in self._camera(camera, frame.cameras[camera.name], frame.number):
                self._put(*timed)
        if frame.points is not None and source.lidar is not None:
            points = frame.points
            if not spec.lidar_labels:
                kept = [name for name in points.dtype.names or () if name != "label"]
                points = np.ascontiguousarray(
                    points[kept].astype([(n, points.dtype[n]) for n in kept])
                )
            frame_id = source.lidar.name.lower()
            cloud = messages.point_cloud(self._stamp(reference), frame_id, points)
            self._put(reference, f"/{frame_id}/points", cloud)
        if frame.occupancy is not None:
            for timed in self._dense(frame, reference):
                self._put(*timed)
            for timed in self._boxes(spec.set_time_s(frame.number), reference):
                self._put(*timed)

    def finish(self) -> None:
        """Whatever is still to be written."""
        self._flush(None)

    def _put(self, log_ns: int, topic: str, message: Message) -> None:
        heapq.heappush(self._queue, (log_ns, next(self._order), topic, message))

    def _flush(self, until_ns: int | None) -> None:
        while self._queue and (until_ns is None or self._queue[0][0] < until_ns):
            log_ns, _, topic, message = heapq.heappop(self._queue)
            self._bag.write(topic, message, log_ns)

    def _since_start(self, stamp_ns: int) -> float:
        return (stamp_ns - self._spec.stamp_ns(LEAD_S)) * 1e-9

    def _stamp(self, stamp_ns: int) -> int:
        """What the header says: the truth, but for a clock that jumps."""
        jumps = [
            fault.value
            for fault in self._spec.faults
            if fault.kind == "clock-jump" and fault.strikes(self._since_start(stamp_ns))
        ]
        return stamp_ns + round(sum(jumps) * 1e9)

    def _static(self, start_ns: int) -> Iterator[Timed]:
        rig = self._source.rig
        edges = [(self._base, c.frame, c.base_from_camera) for c in rig.cameras]
        if rig.lidar is not None:
            edges.append((self._base, rig.lidar.name.lower(), rig.lidar.base_from_body()))
        if self._spec.exact_odometry:
            edges.append(("map", self._odom, self._odometry.map_from_odom.poses[0]))
        sent = [messages.transform_stamped(self._stamp(start_ns), *edge) for edge in edges]
        yield start_ns, "/tf_static", messages.tf(sent)
        frames = {camera.name: camera for camera in rig.cameras}
        for fault in self._spec.faults:
            if fault.kind != "wrong-extrinsics":
                continue
            camera = frames[fault.camera]
            wrong = misaligned(camera.base_from_camera, fault.value)
            turns = [(fault.start_s, wrong)]
            if np.isfinite(fault.duration_s):
                turns.append((fault.start_s + fault.duration_s, camera.base_from_camera))
            for since, mount in turns:
                # From the start on means before any image.
                stamp = start_ns + 1 if since == 0 else self._spec.stamp_ns(LEAD_S + since)
                edge = (self._base, camera.frame, mount)
                moved = messages.transform_stamped(self._stamp(stamp), *edge)
                yield stamp, "/tf_static", messages.tf([moved])

    def _motion(self) -> Iterator[Timed]:
        track = self._odometry.odom_from_base
        for number, (stamp, pose) in enumerate(zip(track.stamps_ns, track.poses, strict=True)):
            header = self._stamp(stamp)
            moved = [messages.transform_stamped(header, self._odom, self._base, pose)]
            if not self._spec.exact_odometry:
                fix = self._odometry.map_from_odom.poses[number]
                moved.append(messages.transform_stamped(header, "map", self._odom, fix))
            late = [
                fault.value
                for fault in self._spec.faults
                if fault.kind == "late-tf" and fault.strikes(self._since_start(stamp))
            ]
            yield stamp + round(sum(late) * 1e9), "/tf", messages.tf(moved)
            linear, angular = track.velocity(stamp, 100_000_000)
            odometry = messages.odometry(header, self._odom, self._base, pose, linear, angular)
            yield stamp, "/odom", odometry

    def _camera(self, camera: RigCamera, frame: CameraFrame, number: int) -> Iterator[Timed]:
        stamp = self._spec.stamp_ns(frame.time_s)
        header = self._stamp(stamp)
        since = frame.time_s - LEAD_S - camera.offset_s
        struck = {f.kind for f in self._spec.faults if f.strikes(since, camera.name)}
        topic = "/" + camera.config.image_topic.lstrip("/")
        if "dropped-camera" not in struck:
            model = self._source.models[camera.name]
            info = messages.camera_info(header, camera.frame, model)
            yield stamp, "/" + camera.config.camera_info_topic.lstrip("/"), info
            if frame.image is not None:
                image = messages.image(header, camera.frame, frame.image, "rgb8")
            else:
                image = messages.compressed_image(header, camera.frame, frame.jpeg)
            if "frozen-image" in struck and camera.name in self._last:
                image = replace(self._last[camera.name], header=image.header)
            self._last[camera.name] = image
            if "jpeg-corruption" in struck:
                damaged = corrupted(image.data.tobytes(), number)
                image = replace(image, data=np.frombuffer(damaged, np.uint8))
            if frame.image is None and camera.config.transport != "as_named":
                topic = f"{topic}/compressed"
            yield stamp, topic, image
        folder = f"{TRUTH}/{camera.name.lower()}"
        if frame.depth_mm is not None and frame.class_id is not None:
            depth = messages.image(header, camera.frame, frame.depth_mm, "16UC1")
            yield stamp, f"{folder}/depth", depth
            classes = messages.image(header, camera.frame, frame.class_id, "mono8")
            yield stamp, f"{folder}/classes", classes

    def _dense(self, frame: SetFrame, stamp_ns: int) -> Iterator[Timed]:
        dense = frame.occupancy
        assert dense is not None
        stamps = {
            name: self._stamp(self._spec.stamp_ns(c.time_s)) for name, c in frame.cameras.items()
        }
        for topic, mask in (
            (f"{TRUTH}/occupancy", dense.seen_by_cameras),
            (f"{TRUTH}/occupancy_lidar", dense.seen_by_lidar),
        ):
            if mask is not None:
                full = np.full(dense.labels.shape, 255, np.uint8)
                occupancy = SemanticOccupancy(
                    self._stamp(stamp_ns),
                    self._source.grid,
                    self._source.classes,
                    dense.labels,
                    full,
                    mask,
                )
                message = to_message(messages.make, occupancy, self._base, stamps)
                yield stamp_ns, topic, message

    def _boxes(self, time_s: float, stamp_ns: int) -> Iterator[Timed]:
        town = self._source.town
        here = town.world_from_ego(time_s).translation
        detections = [
            self._standing.get(agent.name) or self._box(agent, time_s)
            for agent in (*town.standing, *town.moving)
            if np.linalg.norm(agent.position(time_s) - here) < BOX_RANGE_M
        ]
        for box in detections:
            self._numbers.setdefault(box.instance, len(self._numbers))
        header = self._stamp(stamp_ns)
        yield stamp_ns, f"{TRUTH}/boxes", boxes.detections(header, "map", detections)
        shown = boxes.markers(header, "map", detections, self._numbers)
        yield stamp_ns, f"{TRUTH}/box_markers", shown

    def _box(self, agent: Agent, time_s: float) -> boxes.Box:
        pose, asset = agent.pose(time_s), agent.asset
        up = RigidTransform(np.eye(3), np.array([0.0, 0.0, asset.size_m[2] / 2]))
        token = hashlib.md5(f"{self._spec.town.seed}/{agent.name}".encode()).hexdigest()
        speed = agent.speed(time_s)
        return boxes.Box(
            CATEGORIES[asset.class_name],
            token,
            _attributes(agent, speed),
            "",
            pose @ up,
            asset.size_m,
            speed * pose.rotation[:, 0],
        )


def _attributes(agent: Agent, speed_m_s: float) -> tuple[str, ...]:
    """nuScenes' attributes."""
    kind, moves = agent.asset.class_name, speed_m_s > 0.2
    if kind == "pedestrian":
        return ("pedestrian.moving" if moves else "pedestrian.standing",)
    if kind in ("bicycle", "motorcycle"):
        return ("cycle.with_rider" if agent.motion else "cycle.without_rider",)
    if CATEGORIES[kind].startswith("vehicle."):
        if agent.motion is None:
            return ("vehicle.parked",)
        return ("vehicle.moving" if moves else "vehicle.stopped",)
    return ()
