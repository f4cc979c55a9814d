"""The message definitions that bags are written with, and read with where a bag carries none."""

from __future__ import annotations

from functools import cache

from rosbags.interfaces.typing import Typesdict
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from renderocc_ros.paths import share_path
from renderocc_ros.rig.video_stream import PACKET

OWN_MESSAGES = ("SemanticOccupancy", "SemanticClass", "SemanticClasses")

# vision_msgs 4 (Humble and later), https://github.com/ros-perception/vision_msgs. A bag carries the
# definitions of its messages, so boxes can be written where vision_msgs is not installed.
VISION_MESSAGES = {
    "vision_msgs/msg/BoundingBox3D": """
        geometry_msgs/Pose center
        geometry_msgs/Vector3 size
    """,
    "vision_msgs/msg/ObjectHypothesis": """
        string class_id
        float64 score
    """,
    "vision_msgs/msg/ObjectHypothesisWithPose": """
        ObjectHypothesis hypothesis
        geometry_msgs/PoseWithCovariance pose
    """,
    "vision_msgs/msg/Detection3D": """
        std_msgs/Header header
        ObjectHypothesisWithPose[] results
        BoundingBox3D bbox
        string id
    """,
    "vision_msgs/msg/Detection3DArray": """
        std_msgs/Header header
        Detection3D[] detections
    """,
}

# https://github.com/ros-misc-utilities/ffmpeg_image_transport_msgs
PACKET_FIELDS = """
    std_msgs/Header header
    int32 width
    int32 height
    string encoding
    uint64 pts
    uint8 flags
    bool is_bigendian
    uint8[] data
"""


@cache
def typestore() -> Typestore:
    """The messages of ROS 2 Jazzy, of this package, of vision_msgs and of ffmpeg_image_transport.

    The definitions of the standard messages used here are the same from Humble to Lyrical.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    types: Typesdict = {}
    for name, text in VISION_MESSAGES.items():
        types.update(get_types_from_msg(text, name))
    types.update(get_types_from_msg(PACKET_FIELDS, PACKET))
    for name in OWN_MESSAGES:
        text = share_path("msg", f"{name}.msg").read_text(encoding="utf-8")
        types.update(get_types_from_msg(text, f"renderocc_ros/msg/{name}"))
    store.register(types)
    return store
