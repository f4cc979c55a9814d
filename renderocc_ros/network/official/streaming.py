"""The official network on a running stream: what past frames said is kept, not computed again.

Of a past frame the image features, the stereo feature and the matching cost depend on its own
images and poses only; they are kept. Its depth distribution depends on the key frame through the
camera parameters, and its place in the volume on the new ego pose; both are computed anew.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor

from renderocc_ros.network.official.geometry import StereoFrame
from renderocc_ros.network.official.heads import SemanticDensityField
from renderocc_ros.network.official.layers import Observer, unobserved
from renderocc_ros.network.official.swinb_stereo import EncodedFrame, SwinBStereo
from renderocc_ros.network.official.validation import check_frames

NANOSECONDS = 1_000_000_000


class Reset(Enum):
    """Why a stream forgot its past frames."""

    TIME_BACKWARD = "the time stamp is not after the last one"
    TIME_GAP = "too much time has passed since the last frame"
    SCENE_CHANGE = "the scene changed"
    CALIBRATION_CHANGE = "intrinsics, image transform or mounting of a camera changed"
    BATCH_CHANGE = "the number of samples, the number type or the device changed"
    REQUESTED = "reset() was called"


@dataclass(frozen=True)
class StreamOutput:
    """Result of one step.

    Attributes:
        field: the semantic density field in the ego frame of the new frame's camera 0.
        past_age_s: age of the past frame that was fused; None at the start of a sequence, where the
            new frame stands in for it, as in the official data set.
        reset: why the past frames were dropped before this step, None where they were not.
    """

    field: SemanticDensityField
    past_age_s: float | None
    reset: Reset | None


@dataclass
class SwinBStereoStream:
    """Feeds frames one by one to a ``SwinBStereo`` and fuses each with a remembered one.

    ``step`` gives what the three-frame call gives for the new frame, the one ``past_age_s`` before
    it and, as stereo reference, the one that this was matched with.

    Attributes:
        network: in evaluation mode; its weights are not touched.
        past_age_s: the newest frame at least this old is fused. The network was trained on
            frames 0.5 s apart; a little less allows for jitter. At a higher rate the frames
            in between are remembered until they are old enough.
        max_gap_s: a longer time without a frame is a new sequence.
        max_mounting_shift: largest change of ``ego_from_camera``'s entries (metres, or sines of
            angles) that is not a new calibration. Allow more where the caller puts the motion
            between camera stamps into ``ego_from_camera`` instead of ``global_from_ego``.
        resets: how often the past was dropped, by reason.
    """

    network: SwinBStereo
    past_age_s: float = 0.4
    max_gap_s: float = 1.5
    max_mounting_shift: float = 0.01
    resets: Counter[Reset] = field(default_factory=Counter)
    _memory: deque[tuple[int, EncodedFrame]] = field(default_factory=deque)
    _scene: Hashable = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.past_age_s <= self.max_gap_s:
            raise ValueError(
                f"past_age_s must be from 0 to max_gap_s = {self.max_gap_s}, got {self.past_age_s}"
            )

    @torch.inference_mode()
    def step(
        self,
        frame: StereoFrame,
        stamp_ns: int,
        scene: Hashable = None,
        observe: Observer = unobserved,
    ) -> StreamOutput:
        """The field of a new frame.

        Args:
            frame: its images, calibration and poses; B = 1 or a batch of parallel streams.
            stamp_ns: its time.
            scene: anything that changes when the next sequence begins, a bag's or scene's name.
            observe: is handed the key frame's intermediate tensors.

        Raises:
            ValueError: the frame does not fit the network; the memory is left as it was.
        """
        check_frames(self.network.sizes, [frame])
        reset = self._reason_to_reset(frame, stamp_ns, scene)
        if reset is not None:
            self._forget(reset)
        self._scene = scene
        past = self._past(stamp_ns)
        bda = torch.eye(3).to(frame.intrinsics)[None]
        if past is None:
            encoded = self.network.encode(frame, observe=observe)
            volume, depth = self.network.lift(encoded, encoded.frame, bda, observe)
            volumes, age_s = (volume, volume), None
        else:
            then_ns, old = past
            age_s = (stamp_ns - then_ns) / NANOSECONDS
            encoded = self.network.encode(frame, old.frame, old.stereo, observe)
            past_volume, _ = self.network.lift(old, encoded.frame, bda)
            volume, depth = self.network.lift(encoded, encoded.frame, bda, observe)
            volumes = (past_volume, volume)
        field_ = self.network.decode(volumes, depth, observe)
        self._memory.append((stamp_ns, encoded))
        return StreamOutput(field_, age_s, reset)

    def reset(self) -> None:
        """Forgets all past frames."""
        self._forget(Reset.REQUESTED)

    def _forget(self, reason: Reset) -> None:
        self._memory.clear()
        self.resets[reason] += 1

    def _past(self, stamp_ns: int) -> tuple[int, EncodedFrame] | None:
        """The newest frame that is old enough, else the oldest; drops those before it."""
        oldest_useful_ns = stamp_ns - round(self.past_age_s * NANOSECONDS)
        while len(self._memory) > 1 and self._memory[1][0] <= oldest_useful_ns:
            self._memory.popleft()
        return self._memory[0] if self._memory else None

    def _reason_to_reset(self, frame: StereoFrame, stamp_ns: int, scene: Hashable) -> Reset | None:
        if not self._memory:
            return None
        last_stamp_ns, last = self._memory[-1]
        if scene != self._scene:
            return Reset.SCENE_CHANGE
        if stamp_ns <= last_stamp_ns:
            return Reset.TIME_BACKWARD
        if stamp_ns - last_stamp_ns > self.max_gap_s * NANOSECONDS:
            return Reset.TIME_GAP
        old, new = last.frame.intrinsics, frame.intrinsics
        if old.shape != new.shape or old.dtype != new.dtype or old.device != new.device:
            return Reset.BATCH_CHANGE
        if self._recalibrated(last.frame, frame):
            return Reset.CALIBRATION_CHANGE
        return None

    def _recalibrated(self, old: StereoFrame, new: StereoFrame) -> bool:
        """Whether a camera that both frames have is described otherwise."""
        everywhere = torch.ones_like(new.intrinsics[..., 0, 0], dtype=torch.bool)
        both = everywhere if old.valid is None else old.valid
        both = both if new.valid is None else both & new.valid

        def shift(name: str) -> Tensor:
            before, after = getattr(old, name)[both], getattr(new, name)[both]
            return torch.abs(before - after)

        exact = ("intrinsics", "post_rotation", "post_translation")
        if any(bool((shift(name) > 0).any()) for name in exact):
            return True
        return bool((shift("ego_from_camera") > self.max_mounting_shift).any())
