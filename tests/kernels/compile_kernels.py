"""Compiles every kernel for an NVIDIA GPU, which takes none: run by ``test_compilation``.

The interpreter knows nothing of shapes that are no powers of two, of types that change in a loop,
or of calls that a GPU does not have; the compiler does.
"""

from __future__ import annotations

import sys
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from renderocc_ros.kernels import tile
from renderocc_ros.kernels.interval_sum import sum_gradient_kernel, sum_kernel
from renderocc_ros.kernels.matching import BLOCK_C, BLOCK_P, matching_kernel
from renderocc_ros.kernels.ray_compositing import render_gradient_kernel, render_kernel

F, H, I = "*fp32", "*bf16", "*i64"  # noqa: E741


def build(kernel: Any, arguments: list[str], constants: dict[str, Any], capability: int) -> None:
    """Print the kernel's name once there is machine code of it."""
    names = [name for name in kernel.arg_names if name not in constants]
    signature = dict(zip(names, arguments, strict=True)) | dict.fromkeys(constants, "constexpr")
    source = ASTSource(kernel, signature, constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert len(compiled.asm["cubin"]) > 0
    print(kernel.__name__)


def main(capability: int) -> None:
    """Kernels with the sizes of the shipped networks."""
    sums = {"C": 32, "ACC": tl.float32, **dict(zip(("BLOCK_P", "BLOCK_C"), tile(32), strict=True))}
    build(sum_kernel, [F, H, I, I, I, H], sums, capability)
    build(sum_gradient_kernel, [F, H, I, I, I, H, F, F], sums, capability)
    features = {"C": 128, "H": 128, "W": 352, "PROBE": 124, "BLOCK_P": BLOCK_P, "BLOCK_C": BLOCK_C}
    build(matching_kernel, [F, F, F, F, "fp32", "i32"], features, capability)
    for eight in (False, True):
        rays, width = tile(17)
        field = {"K": 17, "X": 200, "Y": 200, "Z": 16, "EIGHT": eight}
        field |= {"BLOCK_R": rays, "BLOCK_K": width}
        inputs, sizes = [F, F, I, F, F, F, I], ["i32"] * 6
        build(render_kernel, [F, F, *inputs, *[F] * 5, *sizes], field, capability)
        build(render_gradient_kernel, [F, *inputs, *[F] * 8, *sizes], field, capability)


if __name__ == "__main__":
    main(int(sys.argv[1]))
