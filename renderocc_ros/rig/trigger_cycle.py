"""One trigger cycle while its images come in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic

from renderocc_ros.rig.matched_set import Item
from renderocc_ros.rig.stamp_learning import median_ns


@dataclass(frozen=True)
class CycleImage(Generic[Item]):
    """An image: number of its camera in the rig, stamp in nanoseconds, and what was pushed."""

    camera: int
    stamp_ns: int
    item: Item


@dataclass
class TriggerCycle(Generic[Item]):
    """An open cycle.

    Attributes:
        opened_ns: when its first image arrived, in the caller's clock.
        images: by camera.
        says_ns: the time of the cycle as each image says it, by camera.
        time_ns: the median of those.
    """

    opened_ns: int
    images: dict[int, CycleImage[Item]] = field(default_factory=dict)
    says_ns: dict[int, int] = field(default_factory=dict)
    time_ns: int = 0

    def put(self, image: CycleImage[Item], says_ns: int) -> CycleImage[Item] | None:
        """Put an image into its camera's place.

        Returns:
            the image that is not in the cycle after that, if there are two: of those of a camera
            that is faster than the rig, the one nearer to the other cameras' time stays.
        """
        camera = image.camera
        loser = self.images.get(camera)
        if loser is not None:
            others = [time_ns for other, time_ns in self.says_ns.items() if other != camera]
            centre_ns = median_ns(others) if others else self.says_ns[camera]
            if abs(says_ns - centre_ns) >= abs(self.says_ns[camera] - centre_ns):
                return image
        self.images[camera] = image
        self.says_ns[camera] = says_ns
        self.time_ns = median_ns(self.says_ns.values())
        return loser
