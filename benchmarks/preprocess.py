"""Decoding and preparing one camera's image: reduced decoding and plans against the plain way.

The plain way decodes the whole JPEG, undistorts it whole, scales it by means over areas, crops,
and normalises with numpy. One JSON object a line: network width, camera, milliseconds of decoding
and of the rest for both ways (one thread, best of several), their ratio, and the mean difference
of the two images in grey levels of 255.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.image_decoding import decode_image, reduced_model
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor

REPEATS = 20
K = np.array([[1266.0, 0, 816], [0, 1266, 491], [0, 0, 1]])
CAMERAS = {
    "pinhole": CameraModel(1600, 900, K),
    "plumb_bob": CameraModel(1600, 900, K, "plumb_bob", (-0.3, 0.1, 1e-4, 1e-4, 0.0)),
}
SIZES = ((352, 128), (704, 256), (1408, 512))


def picture() -> bytes:
    """A JPEG of 1600 x 900: the file named on the command line, or clouds and edges."""
    if len(sys.argv) > 1:
        return Path(sys.argv[1]).read_bytes()
    draw = np.random.default_rng(0)
    image = np.zeros((900, 1600, 3), np.float32)
    for scale in (4, 16, 64):
        noise = draw.normal(0, 30, (900 // scale + 1, 1600 // scale + 1, 3)).astype(np.float32)
        image += cv2.resize(noise, (1600, 900), interpolation=cv2.INTER_CUBIC)
    for _ in range(60):
        corner = draw.integers(0, (1500, 850))
        colour = tuple(map(int, draw.integers(0, 255, 3)))
        cv2.rectangle(image, corner, corner + draw.integers(5, 150, 2), colour, -1)
    clipped = np.clip(image + 100, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", clipped, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def plain(image: NDArray[np.uint8], model: CameraModel, config: ImageConfig) -> NDArray[np.float32]:
    """The plain way: (3, H, W) float32."""
    if model.distortion:
        image = np.asarray(
            cv2.undistort(image, model.intrinsics, np.array(model.distortion)), np.uint8
        )
    height = round(model.height * config.width / model.width)
    scaled = cv2.resize(image, (config.width, height), interpolation=cv2.INTER_AREA)
    window = scaled[height - config.height :]
    normalised = (window - np.array(config.mean)) / np.array(config.std)
    return np.asarray(normalised.transpose(2, 0, 1), np.float32)


def best_ms(run: Callable[[], object]) -> float:
    """Milliseconds of the fastest of several runs."""
    durations = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        durations.append(time.perf_counter() - started)
    return min(durations) * 1e3


def main() -> None:
    """Print one line per network size and camera."""
    cv2.setNumThreads(1)
    data = picture()
    whole = decode_image(data)
    plain_decode_ms = best_ms(lambda: decode_image(data))
    for width, height in SIZES:
        config = ImageConfig(width=width, height=height)
        for name, model in CAMERAS.items():
            prepare = ImagePreprocessor(config)
            reduction = prepare.reduction(model)
            pose = RigidTransform.identity()
            reduced = decode_image(data, reduction)
            posed = PosedImage(name, 0, reduced, reduced_model(model, reduction), pose)
            cameras = CameraSet(0, (name,), (posed,))
            images = prepare(cameras).images
            decode_ms = best_ms(lambda r=reduction: decode_image(data, r))  # type: ignore[misc]
            ours_ms = best_ms(lambda p=prepare, c=cameras, out=images: p(c, out))  # type: ignore[misc]
            plain_ms = best_ms(lambda m=model, c=config: plain(whole, m, c))  # type: ignore[misc]
            difference = np.abs(plain(whole, model, config) - images[0]).mean() * 57
            total, plain_total = decode_ms + ours_ms, plain_decode_ms + plain_ms
            line = {
                "width": width,
                "camera": name,
                "reduction": reduction,
                "decode_ms": round(decode_ms, 2),
                "prepare_ms": round(ours_ms, 2),
                "plain_decode_ms": round(plain_decode_ms, 2),
                "plain_prepare_ms": round(plain_ms, 2),
                "ratio": round(total / plain_total, 2),
                "difference": round(float(difference), 2),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
