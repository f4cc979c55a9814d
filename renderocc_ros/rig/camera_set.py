"""One instant as all cameras saw it: what the node hands to prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel, RigidTransform


@dataclass(frozen=True, eq=False)
class PosedImage:
    """One camera's image of a set, decoded, and where the camera was.

    Attributes:
        name: the camera's name in the rig.
        stamp_ns: acquisition time of this image, nanoseconds.
        pixels: (H, W, 3) uint8, RGB; its size is ``model``'s.
        model: the projection of this very image.
        ego_from_camera: from the optical frame at ``stamp_ns`` to the ego frame at the set's
            reference stamp, so ego motion between the two is in it.
    """

    name: str
    stamp_ns: int
    pixels: NDArray[np.uint8]
    model: CameraModel
    ego_from_camera: RigidTransform

    def __post_init__(self) -> None:
        wanted = (self.model.height, self.model.width, 3)
        if self.pixels.dtype != np.uint8 or self.pixels.shape != wanted:
            raise ValueError(
                f"camera '{self.name}': pixels {self.pixels.dtype} {self.pixels.shape}, its model "
                f"describes uint8 {wanted}; scale the model with the image"
            )


@dataclass(frozen=True, eq=False)
class CameraSet:
    """Images of one trigger cycle, in the rig's order.

    Attributes:
        stamp_ns: acquisition time of the reference camera, nanoseconds.
        names: all cameras of the rig, in its order.
        images: one entry per name; None where the camera is missing from this set.
        odom_from_ego: ego pose at ``stamp_ns`` in a frame that does not jump; None if the rig has
            no odometry, and then no past frame can be fused.
    """

    stamp_ns: int
    names: tuple[str, ...]
    images: tuple[PosedImage | None, ...]
    odom_from_ego: RigidTransform | None = None

    def __post_init__(self) -> None:
        if len(self.names) != len(self.images):
            raise ValueError(f"{len(self.names)} cameras, but {len(self.images)} images")
        for name, image in zip(self.names, self.images, strict=True):
            if image is not None and image.name != name:
                raise ValueError(f"image of '{image.name}' stands in the place of '{name}'")
        if all(image is None for image in self.images):
            raise ValueError(f"a set without any image (cameras {', '.join(self.names)})")

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the cameras that this set lacks."""
        pairs = zip(self.names, self.images, strict=True)
        return tuple(name for name, image in pairs if image is None)
