"""Images as messages and as arrays."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest

pytest.importorskip("cv_bridge", reason="needs cv_bridge: ./run sets it up, or source a ROS 2")

from cv_bridge import CvBridge, CvBridgeError
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

BRIDGE = CvBridge()
RNG = np.random.default_rng(0)
# encoding, type, channels
STORED = [
    ("mono8", "uint8", 1), ("mono16", "uint16", 1), ("bgr8", "uint8", 3), ("rgb8", "uint8", 3),
    ("bgra8", "uint8", 4), ("rgba8", "uint8", 4), ("bgr16", "uint16", 3), ("rgb16", "uint16", 3),
    ("bgra16", "uint16", 4), ("rgba16", "uint16", 4), ("bayer_rggb8", "uint8", 1),
    ("bayer_bggr8", "uint8", 1), ("bayer_gbrg8", "uint8", 1), ("bayer_grbg16", "uint16", 1),
    ("yuv422", "uint8", 2), ("yuv422_yuy2", "uint8", 2), ("8UC1", "uint8", 1), ("8UC2", "uint8", 2),
    ("8UC3", "uint8", 3), ("8UC4", "uint8", 4), ("8SC1", "int8", 1), ("16UC1", "uint16", 1),
    ("16SC2", "int16", 2), ("32SC1", "int32", 1), ("32FC1", "float32", 1), ("32FC3", "float32", 3),
    ("64FC1", "float64", 1),
]  # fmt: skip


def image(dtype: str, channels: int, height: int = 6, width: int = 8) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    if dtype.startswith("float"):
        return RNG.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def message(encoding: str, rows: np.ndarray, width: int, big_endian: bool = False) -> Image:
    """The message whose rows of bytes are `rows`."""
    height, step = rows.shape
    built = Image(height=height, width=width, encoding=encoding, step=step)
    built.is_bigendian = int(big_endian)
    built.data = array.array("B", rows.astype(np.uint8).tobytes())
    return built


@pytest.mark.parametrize(("encoding", "dtype", "channels"), STORED)
def test_an_image_survives_the_way_there_and_back(encoding: str, dtype: str, channels: int) -> None:
    original = image(dtype, channels)
    header = Header(frame_id="camera")
    sent = BRIDGE.cv2_to_imgmsg(original, encoding, header)
    itemsize = np.dtype(dtype).itemsize
    assert (sent.height, sent.width, sent.step) == (6, 8, 8 * channels * itemsize)
    assert (sent.encoding, sent.header.frame_id, sent.is_bigendian) == (encoding, "camera", 0)
    assert bytes(sent.data) == original.tobytes()
    received = BRIDGE.imgmsg_to_cv2(sent)
    assert received.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(received, original)
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(sent, encoding), original)
    assert BRIDGE.encoding_to_dtype_with_channels(encoding) == (dtype, channels)


def test_without_an_encoding_the_type_is_the_encoding() -> None:
    assert BRIDGE.cv2_to_imgmsg(image("uint8", 3)).encoding == "8UC3"
    assert BRIDGE.cv2_to_imgmsg(image("float32", 1)).encoding == "32FC1"
    assert BRIDGE.cv2_to_imgmsg(image("uint8", 3)[:, :, :1]).encoding == "8UC1"


def test_views_of_arrays_are_sent_as_they_look() -> None:
    whole = image("uint8", 3)
    view = whole[1:5, ::-1]
    sent = BRIDGE.cv2_to_imgmsg(view, "bgr8")
    assert sent.step == len(sent.data) // sent.height == 8 * 3
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(sent), view)


@pytest.mark.parametrize(("encoding", "channels", "padding"), [("mono8", 1, 3), ("rgb8", 3, 6)])
def test_padding_of_rows_is_left_out(encoding: str, channels: int, padding: int) -> None:
    original = image("uint8", channels)
    rows = np.full((6, 8 * channels + padding), 99)
    rows[:, : 8 * channels] = original.reshape(6, -1)
    received = BRIDGE.imgmsg_to_cv2(message(encoding, rows, width=8))
    np.testing.assert_array_equal(received, original)


@pytest.mark.parametrize(("encoding", "dtype"), [("mono16", "uint16"), ("32FC1", "float32")])
def test_big_endian_images_come_out_in_native_order(encoding: str, dtype: str) -> None:
    original = image(dtype, 1)
    swapped = original.astype(np.dtype(dtype).newbyteorder(">"))
    rows = np.frombuffer(swapped.tobytes(), np.uint8).reshape(6, -1)
    sent = message(encoding, rows, width=8, big_endian=True)
    received = BRIDGE.imgmsg_to_cv2(sent)
    assert received.dtype.isnative
    np.testing.assert_array_equal(received, original)
    assert bytes(sent.data) == swapped.tobytes()  # the message is as it was


def test_colours_change_places() -> None:
    pixel = np.array([[[10, 20, 30]]], np.uint8)
    sent = BRIDGE.cv2_to_imgmsg(pixel, "bgr8")
    assert BRIDGE.imgmsg_to_cv2(sent, "rgb8")[0, 0].tolist() == [30, 20, 10]
    assert BRIDGE.imgmsg_to_cv2(sent, "rgba8")[0, 0].tolist() == [30, 20, 10, 255]
    assert BRIDGE.imgmsg_to_cv2(sent, "bgra8")[0, 0].tolist() == [10, 20, 30, 255]
    grey = round(0.114 * 10 + 0.587 * 20 + 0.299 * 30)
    assert BRIDGE.imgmsg_to_cv2(sent, "mono8").tolist() == [[grey]]
    sent.encoding = "rgb8"
    assert BRIDGE.imgmsg_to_cv2(sent, "bgr8")[0, 0].tolist() == [30, 20, 10]


def test_grey_becomes_colour_and_alpha_goes() -> None:
    grey = BRIDGE.cv2_to_imgmsg(np.array([[7]], np.uint8), "mono8")
    assert BRIDGE.imgmsg_to_cv2(grey, "bgr8")[0, 0].tolist() == [7, 7, 7]
    assert BRIDGE.imgmsg_to_cv2(grey, "rgba8")[0, 0].tolist() == [7, 7, 7, 255]
    alpha = BRIDGE.cv2_to_imgmsg(np.array([[[1, 2, 3, 4]]], np.uint8), "rgba8")
    assert BRIDGE.imgmsg_to_cv2(alpha, "bgr8")[0, 0].tolist() == [3, 2, 1]


def test_eight_and_sixteen_bits_are_scaled() -> None:
    eight = BRIDGE.cv2_to_imgmsg(np.array([[0, 1, 128, 255]], np.uint8), "mono8")
    expected = [[0, 257, 128 * 257, 65535]]
    assert BRIDGE.imgmsg_to_cv2(eight, "mono16").tolist() == expected
    sixteen = BRIDGE.cv2_to_imgmsg(np.array([[0, 128, 129, 65535]], np.uint16), "mono16")
    assert BRIDGE.imgmsg_to_cv2(sixteen, "mono8").tolist() == [[0, 0, 1, 255]]
    both = BRIDGE.cv2_to_imgmsg(np.array([[[1, 2, 3]]], np.uint8), "rgb8")
    assert BRIDGE.imgmsg_to_cv2(both, "bgr16")[0, 0].tolist() == [771, 514, 257]


def test_depths_keep_their_value_in_other_types() -> None:
    depth = BRIDGE.cv2_to_imgmsg(np.array([[0, 1234, 65535]], np.uint16), "16UC1")
    metres = BRIDGE.imgmsg_to_cv2(depth, "32FC1")
    assert metres.dtype == np.float32
    assert metres.tolist() == [[0, 1234, 65535]]
    back = BRIDGE.cv2_to_imgmsg(np.array([[-5.0, 2.5, 3.5, 1e6]], np.float32), "32FC1")
    assert BRIDGE.imgmsg_to_cv2(back, "16UC1").tolist() == [[0, 2, 4, 65535]]


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_give_the_colour_that_was_there(pattern: str) -> None:
    colour = {"r": 200, "g": 100, "b": 50}
    tile = np.array([[colour[c] for c in pattern[:2]], [colour[c] for c in pattern[2:]]], np.uint8)
    raw = np.tile(tile, (8, 8))
    for bits, dtype, factor in (("8", np.uint8, 1), ("16", np.uint16, 257)):
        sent = BRIDGE.cv2_to_imgmsg(raw.astype(dtype) * dtype(factor), f"bayer_{pattern}{bits}")
        rgb = BRIDGE.imgmsg_to_cv2(sent, f"rgb{bits}")
        assert rgb[8, 8].tolist() == [200 * factor, 100 * factor, 50 * factor]
        assert BRIDGE.imgmsg_to_cv2(sent, f"bgr{bits}")[8, 8].tolist() == rgb[8, 8][::-1].tolist()
        grey = BRIDGE.imgmsg_to_cv2(sent, f"mono{bits}")
        assert grey[8, 8] == pytest.approx(0.299 * 200 * factor + 0.587 * 100 * factor
                                           + 0.114 * 50 * factor, rel=0.02)  # fmt: skip


def test_yuv_has_two_layouts() -> None:
    u, v, luma = 90, 240, 81  # about red
    uyvy = np.tile(np.array([u, luma, v, luma], np.uint8), (4, 2)).reshape(4, 4, 2)
    yuyv = np.tile(np.array([luma, u, luma, v], np.uint8), (4, 2)).reshape(4, 4, 2)
    for encoding, pixels in (("yuv422", uyvy), ("yuv422_yuy2", yuyv)):
        sent = BRIDGE.cv2_to_imgmsg(pixels, encoding)
        red, green, blue = (int(c) for c in BRIDGE.imgmsg_to_cv2(sent, "rgb8")[1, 1])
        assert red > 245
        assert green < 10
        assert blue < 10
        assert BRIDGE.imgmsg_to_cv2(sent, "bgr8")[1, 1].tolist() == [blue, green, red]
        assert BRIDGE.imgmsg_to_cv2(sent, "mono8")[1, 1] == luma


@pytest.mark.parametrize(
    ("source", "target", "message_part"),
    [
        ("16UC1", "mono8", r"\[16UC1\] is not a color format. but \[mono8\] is"),
        ("8UC3", "8UC1", r"\[8UC3\] and \[8UC1\] do not have the same number of channel"),
        ("bgr8", "8UC1", r"\[bgr8\] is a color format but \[8UC1\] is not"),
        ("bayer_rggb8", "rgba8", r"Unsupported conversion from \[bayer_rggb8\] to \[rgba8\]"),
        ("rgb8", "bayer_rggb8", r"Unsupported conversion from \[rgb8\] to \[bayer_rggb8\]"),
        ("rgb8", "yuv422", r"Unsupported conversion from \[rgb8\] to \[yuv422\]"),
        ("rgb8", "nonsense", r"Unrecognized image encoding \[nonsense\]|nonsense"),
    ],
)
def test_what_makes_no_sense_is_refused(source: str, target: str, message_part: str) -> None:
    dtype, channels = BRIDGE.encoding_to_dtype_with_channels(source)
    sent = BRIDGE.cv2_to_imgmsg(image(dtype, channels), source)
    with pytest.raises(CvBridgeError, match=message_part):
        BRIDGE.imgmsg_to_cv2(sent, target)


def test_colours_count_as_channels_where_no_colour_is_asked_for() -> None:
    sent = BRIDGE.cv2_to_imgmsg(image("uint8", 3), "rgb8")
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(sent, "8UC3"), BRIDGE.imgmsg_to_cv2(sent))


def test_mistakes_are_named() -> None:
    sent = BRIDGE.cv2_to_imgmsg(image("uint8", 1), "mono8")
    sent.encoding = "mono9"
    with pytest.raises(CvBridgeError, match=r"Unrecognized image encoding \[mono9\]"):
        BRIDGE.imgmsg_to_cv2(sent)
    with pytest.raises(
        CvBridgeError, match="encoding specified as bgr8, but image has incompatible type 8UC1"
    ):
        BRIDGE.cv2_to_imgmsg(image("uint8", 1), "bgr8")
    with pytest.raises(TypeError, match="not a numpy array"):
        BRIDGE.cv2_to_imgmsg([[1, 2], [3, 4]])  # type: ignore[arg-type]
    assert issubclass(CvBridgeError, TypeError)


def test_compressed_images_are_what_opencv_decodes() -> None:
    original = cv2.GaussianBlur(image("uint8", 3, 32, 48), (9, 9), 0)
    sent = BRIDGE.cv2_to_compressed_imgmsg(original, "png")
    assert isinstance(sent, CompressedImage)
    assert sent.format == "png"
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(sent), original)
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(sent, "bgr8"), original)
    rgb = BRIDGE.compressed_imgmsg_to_cv2(sent, "rgb8")
    np.testing.assert_array_equal(rgb, original[:, :, ::-1])
    jpeg = BRIDGE.cv2_to_compressed_imgmsg(original)
    assert jpeg.format == "jpg"
    assert np.abs(BRIDGE.compressed_imgmsg_to_cv2(jpeg).astype(int) - original).mean() < 10
    depth = image("uint16", 1)
    sixteen = BRIDGE.cv2_to_compressed_imgmsg(depth, "png")
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(sixteen), depth)


def test_compressed_data_that_is_no_image_gives_nothing() -> None:
    broken = CompressedImage(format="jpeg", data=array.array("B", b"no image at all"))
    assert BRIDGE.compressed_imgmsg_to_cv2(broken) is None
