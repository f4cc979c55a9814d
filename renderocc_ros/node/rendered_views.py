"""The field seen from the cameras themselves, published on request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from renderocc_ros.class_set import ClassSet
from renderocc_ros.node.parameters import NodeParameters
from renderocc_ros.node.qos import NO_PUBLISHER_EVENTS, QOS_OVERRIDES
from renderocc_ros.node.statistics import StageTimes
from renderocc_ros.occupancy.ros_messages import to_array, to_header
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_ros.viewing.colours import class_colours

if TYPE_CHECKING:
    from renderocc_ros.prediction import Predictor
    from renderocc_ros.rendering.camera_view import CameraView

QOS = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)


class RenderedViews:
    """``~/rendered/<camera>/semantics`` (rgb8) and ``…/depth`` (32FC1, metres) of every camera.

    Args:
        node: an rclpy LifecycleNode.
        names: the rig's cameras.
    """

    def __init__(self, node: Any, names: tuple[str, ...], times: StageTimes) -> None:
        self._node, self._times = node, times
        self._publishers = {
            (name, kind): node.create_lifecycle_publisher(
                Image,
                f"~/rendered/{topic_token(name)}/{kind}",
                QOS,
                qos_overriding_options=QOS_OVERRIDES,
                event_callbacks=NO_PUBLISHER_EVENTS,
            )
            for name in names
            for kind in ("semantics", "depth")
        }

    @property
    def wanted(self) -> set[str]:
        """Cameras that somebody subscribes to."""
        return {
            name for (name, _), each in self._publishers.items() if each.get_subscription_count()
        }

    def publish(
        self,
        predictor: Predictor,
        cameras: CameraSet,
        frames: Mapping[str, str],
        parameters: NodeParameters,
    ) -> None:
        """Render the field of the last prediction for every camera that is wanted.

        Args:
            cameras: the set that was predicted from.
            frames: optical frame by camera name.
            parameters: how wide the views are, and which classes they show.
        """
        class_set, width = predictor.class_set, parameters.rendered_width_px
        shown = class_set.keeping(parameters.rendered_classes or class_set.names)
        wanted = self.wanted
        if not wanted or predictor.field is None:
            return
        from renderocc_ros.rendering.camera_view import ViewRenderer

        with self._times.stage("publish rendered"):
            renderer = ViewRenderer(predictor.field, predictor.grid, predictor.threshold)
            for posed in cameras.images:
                if posed is not None and posed.name in wanted:
                    height = max(1, round(posed.model.height * width / posed.model.width))
                    model = posed.model.resized(width, height)
                    view = renderer.view(model, posed.ego_from_camera)
                    header = to_header(posed.stamp_ns, frames[posed.name])
                    shown_view = replace(view, labels=shown[view.labels])
                    self._publish(posed.name, shown_view, class_set, header)

    def destroy(self) -> None:
        """Take the publishers down."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)

    def _publish(self, camera: str, view: CameraView, class_set: ClassSet, header: Header) -> None:
        pictures = {
            "semantics": to_image(class_colours(view.labels, class_set), "rgb8"),
            "depth": to_image(view.depth_m, "32FC1"),
        }
        for kind, image in pictures.items():
            image.header = header
            self._publishers[camera, kind].publish(image)


def to_image(pixels: NDArray[Any], encoding: str) -> Image:
    """(H, W) or (H, W, C) numbers as a message, without header."""
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding=encoding)
    message.step = pixels.nbytes // height
    message.data = to_array(np.ascontiguousarray(pixels).view(np.uint8))
    return message


def topic_token(name: str) -> str:
    """A camera's name as a part of a topic: letters, digits and underscores, no digit first."""
    token = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"camera_{token}" if not token or token[0].isdigit() else token
