"""What stamp matching gives out, and how it accounts for every image."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

Item = TypeVar("Item")


class DropReason(str, Enum):
    """Why an image was not used in the set of its own cycle."""

    LATE = "late"  # its set is out already
    DUPLICATE = "duplicate stamp"  # this camera brought the same stamp before
    UNMATCHED = "unmatched"  # its stamp belongs to no cycle, or another image lies nearer
    SUPERSEDED = "superseded"  # a newer set was complete before its own
    TIMEOUT = "time-out"  # its set did not become complete in time and the policy is 'skip'
    TOO_FEW = "too few cameras"  # its set had fewer than min_cameras when its time was up
    BUFFER_FULL = "buffer full"  # more images waited than buffer_size
    TIME_JUMP = "time jump"  # it lies on the other side of a jump of the time line
    UNLEARNED = "offset not learned"  # it waited for its camera's offset when all ended


@dataclass(frozen=True)
class MatchedImage(Generic[Item]):
    """One camera's part of a set.

    Attributes:
        stamp_ns: the image's own stamp, nanoseconds.
        item: what was pushed with that stamp.
        reused: it belongs to an earlier cycle and stands in for a missing image.
    """

    stamp_ns: int
    item: Item
    reused: bool = False


@dataclass(frozen=True)
class MatchedSet(Generic[Item]):
    """Images of one trigger cycle.

    Attributes:
        stamp_ns: stamp of the reference camera's image; where it is missing, the time at which the
            other cameras say it was due.
        names: all cameras of the rig, in its order.
        images: one entry per name; None where the camera is missing.
    """

    stamp_ns: int
    names: tuple[str, ...]
    images: tuple[MatchedImage[Item] | None, ...]

    @property
    def present(self) -> dict[str, MatchedImage[Item]]:
        """The images that there are, by camera name."""
        pairs = zip(self.names, self.images, strict=True)
        return {name: image for name, image in pairs if image is not None}

    @property
    def missing(self) -> tuple[str, ...]:
        """Cameras without an image, fresh or reused."""
        pairs = zip(self.names, self.images, strict=True)
        return tuple(name for name, image in pairs if image is None)

    @property
    def complete(self) -> bool:
        """Whether every camera brought an image of this very cycle."""
        return all(image is not None and not image.reused for image in self.images)


@dataclass
class MatchCounters:
    """Running totals: received = used + dropped + still waiting, for every camera.

    Attributes:
        received: images that came in, by camera.
        used: images that went out in the set of their own cycle, by camera.
        dropped: images that did not, by (camera, reason).
        reused: times that an earlier image stood in for a missing one, by camera.
        sets_complete, sets_partial: sets that went out with all cameras, and with fewer.
        sets_dropped: cycles of which no set went out, by reason.
        time_jumps: jumps of the time line that cleared the buffers.
        backward_jumps: those of them after which all transforms that were known are of no use.
    """

    received: Counter[str] = field(default_factory=Counter)
    used: Counter[str] = field(default_factory=Counter)
    dropped: Counter[tuple[str, DropReason]] = field(default_factory=Counter)
    reused: Counter[str] = field(default_factory=Counter)
    sets_complete: int = 0
    sets_partial: int = 0
    sets_dropped: Counter[DropReason] = field(default_factory=Counter)
    time_jumps: int = 0
    backward_jumps: int = 0
