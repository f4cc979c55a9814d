"""Serialised image messages as the node decodes them."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from renderocc_ros.node.image_messages import decode, peek_header
from renderocc_training.recording.typestore import typestore
from tests.rig import pictures

COLOURED = {False: pictures.raw_messages(), True: pictures.compressed_messages()}


def serialised(message: Any) -> bytes:
    return bytes(typestore().serialize_cdr(message, message.__msgtype__))


@pytest.mark.parametrize(
    ("compressed", "name"), [(kind, name) for kind, named in COLOURED.items() for name in named]
)
def test_the_node_decodes_every_encoding(compressed: bool, name: str) -> None:
    pixels = decode(serialised(COLOURED[compressed][name]), compressed)
    pictures.assert_shows(pixels, pictures.THIRDS)


@pytest.mark.parametrize("length", [0, 3, 20, 60, 200])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_message_that_is_cut_off_is_refused(compressed: bool, length: int) -> None:
    whole = serialised(COLOURED[compressed]["JPEG" if compressed else "rgb8"])
    with pytest.raises(ValueError, match="no whole image message"):
        decode(whole[:length], compressed)


def test_a_slash_before_the_name_of_a_frame_means_nothing() -> None:
    message = pictures.raw(pictures.RGB, "rgb8")
    message.header.frame_id = "/robot1/front"
    assert peek_header(serialised(message)) == (pictures.STAMP_NS, "robot1/front")
