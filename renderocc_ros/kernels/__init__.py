"""Triton kernels for NVIDIA GPUs, beside the PyTorch versions of the same functions.

The functions that users call (``pool_fast``, ``pool_voxels``, ``stereo_cost``, ``render_rays``)
choose for themselves: the kernels for tensors on a CUDA device where Triton works, as it comes with
PyTorch for CUDA; PyTorch's own operators everywhere else. The environment variable
``RENDEROCC_KERNELS``, read at every call, overrules that: ``torch`` or ``triton``, else ``auto``.

Modules of kernels are imported only where they are used. With ``TRITON_INTERPRET=1``, set before
Triton is imported, they run on CPU tensors, slowly: that is how they are tested without a GPU.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings

import torch
from torch import Tensor

VARIABLE = "RENDEROCC_KERNELS"
CHOICES = ("auto", "torch", "triton")
OLDEST_CAPABILITY = (7, 0)  # what Triton makes code for


def use_triton(tensor: Tensor) -> bool:
    """Whether an operation on this tensor is for the Triton kernels.

    Raises:
        ValueError: ``RENDEROCC_KERNELS`` is none of its choices, or asks for what cannot run here.
    """
    choice = os.environ.get(VARIABLE, CHOICES[0])
    if choice not in CHOICES:
        raise ValueError(f"{VARIABLE} = '{choice}' is not one of: {', '.join(CHOICES)}")
    if choice == "torch":
        return False
    if choice == "auto":
        return tensor.is_cuda and not torch.compiler.is_compiling() and _works_on(tensor.device)
    if not _is_installed():
        raise ValueError(f"{VARIABLE} = 'triton', but Triton is not installed: pip install triton")
    if not tensor.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(
            f"{VARIABLE} = 'triton', but the tensors are on '{tensor.device}': move them to CUDA, "
            "or set TRITON_INTERPRET=1 before Python starts"
        )
    return True


@functools.cache
def _works_on(device: torch.device) -> bool:
    """Whether Triton can start kernels there; it builds its launcher with a C compiler."""
    if not _is_installed() or torch.cuda.get_device_capability(device) < OLDEST_CAPABILITY:
        return False
    try:
        from triton.runtime import driver

        driver.active.get_current_target()
    except Exception as error:  # a missing compiler, header or driver: each has its own type
        warnings.warn(
            f"Triton does not work here, so PyTorch's operators are used instead: {error}\n"
            f"  cure: install a C compiler and Python's headers, or set {VARIABLE}=torch",
            stacklevel=2,
        )
        return False
    return True


def _is_installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def tile(columns: int, elements: int = 512) -> tuple[int, int]:
    """Rows and columns of a block, both powers of two, that holds all of ``columns`` columns."""
    width = 1 << max(columns - 1, 0).bit_length()
    return max(1, min(64, elements // width)), width
