"""What a packet of H.264 or H.265 holds, told from its units (Annex B); nothing is decoded.

libavcodec conceals a lost packet of H.264 with pixels of other images and says nothing. But every
picture carries a number that counts those which others refer to: ``frame_num`` (ITU-T H.264, 7.4.3
and 8.2.5.2). H.265 names the pictures that it needs, so libavcodec misses them by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

START_CODE = re.compile(rb"\x00\x00\x01")
HEAD_BYTES = 256  # of a unit: more than its parameters need
# Profiles whose parameters say more of colours (7.3.2.1.1).
HIGH_PROFILES = (44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244)
H264_SLICE, H264_KEY_SLICE, H264_PARAMETERS = 1, 5, 7
H265_SLICES, H265_KEY_SLICES, H265_PARAMETERS = range(0, 32), range(16, 22), 33


class Content(NamedTuple):
    """What a packet holds.

    Attributes:
        picture: a picture at all; not only parameters.
        key: decoding may begin at it.
        lost: how it is known that a packet before it is missing; empty if none is.
    """

    picture: bool
    key: bool
    lost: str = ""


class H265Units:
    """Reads the packets of one H.265 stream, in order."""

    def content(self, data: bytes, flagged: bool) -> Content:
        """See ``H264Units.content``."""
        kinds = {(unit[0] >> 1) & 0x3F for unit in _units(data)}
        key = bool(kinds & set(H265_KEY_SLICES)) or (flagged and H265_PARAMETERS in kinds)
        return Content(bool(kinds & set(H265_SLICES)), key)


class H264Units:
    """Reads the packets of one H.264 stream, in order."""

    def __init__(self) -> None:
        self._number_bits = 4
        self._plane_bits = 0
        self._last_reference = 0

    def content(self, data: bytes, flagged: bool) -> Content:
        """What the next packet holds.

        Args:
            flagged: its sender calls it a key frame: one that is no IDR picture counts as such if
                parameters come with it.

        Raises:
            ValueError: no units in it.
        """
        parameters = False
        for unit in _units(data):
            kind, referred_to = unit[0] & 0x1F, bool(unit[0] & 0x60)
            if kind == H264_PARAMETERS:
                parameters = True
                self._read_parameters(_Bits(unit))
            elif kind == H264_KEY_SLICE:
                self._last_reference = 0
                return Content(True, True)
            elif kind == H264_SLICE:
                number = self._frame_number(_Bits(unit))
                last, count = self._last_reference, 1 << self._number_bits
                if referred_to:
                    self._last_reference = number
                if flagged and parameters:
                    return Content(True, True)
                whole = number in (last, (last + 1) % count)
                lost = "" if whole else f"its frame_num is {number}, {last} came before"
                return Content(True, False, lost)
        return Content(False, False)

    def _read_parameters(self, bits: _Bits) -> None:
        """Sequence parameter set as far as log2_max_frame_num_minus4 (7.3.2.1.1)."""
        profile = bits.take(8)
        bits.take(16)
        bits.exp_golomb()
        self._plane_bits = 0
        if profile in HIGH_PROFILES:
            chroma = bits.exp_golomb()
            self._plane_bits = 2 * bits.take(1) if chroma == 3 else 0
            bits.exp_golomb(), bits.exp_golomb(), bits.take(1)
            if bits.take(1):
                for place in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        _skip_scaling_list(bits, 16 if place < 6 else 64)
        self._number_bits = 4 + min(bits.exp_golomb(), 12)

    def _frame_number(self, bits: _Bits) -> int:
        """Slice header as far as frame_num (7.3.3)."""
        for _ in ("first_mb_in_slice", "slice_type", "pic_parameter_set_id"):
            bits.exp_golomb()
        bits.take(self._plane_bits)
        return bits.take(self._number_bits)


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last, following = 8, 8
    for _ in range(size):
        if following:
            following = (last + bits.signed_exp_golomb()) % 256
        last = following or last


def _units(data: bytes) -> Iterator[bytes]:
    """The beginning of each unit, its type first, without emulation prevention."""
    starts = [match.end() for match in START_CODE.finditer(data)]
    if not starts:
        raise ValueError(f"{len(data)} bytes hold no start code (Annex B) of H.264 or H.265")
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        unit = data[start : min(end, start + HEAD_BYTES)]
        if unit:
            yield unit.replace(b"\x00\x00\x03", b"\x00\x00")


class _Bits:
    """Numbers of a unit, bit by bit, behind its first byte; zeros behind its end."""

    def __init__(self, unit: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in unit[1:])
        self._place = 0

    def take(self, count: int) -> int:
        """An unsigned number of so many bits."""
        piece = self._bits[self._place : self._place + count]
        self._place += count
        return int(piece.ljust(count, "0") or "0", 2)

    def exp_golomb(self) -> int:
        """ue(v) of 9.1."""
        end = self._bits.find("1", self._place)
        zeros = min(end - self._place, 32) if end >= 0 else 0
        self._place += zeros
        return self.take(zeros + 1) - 1 if end >= 0 else 0

    def signed_exp_golomb(self) -> int:
        """se(v) of 9.1.1."""
        number = self.exp_golomb()
        return (number + 1) // 2 if number % 2 else -(number // 2)
