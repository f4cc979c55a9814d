"""Where the kernels run: on the GPU, else in Triton's interpreter, which has to be chosen early."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest
import torch

TOO_LATE = "triton" in sys.modules
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session")
def device() -> torch.device:
    """What the kernels run on."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    if torch.cuda.is_available():
        return torch.device("cuda")
    assert not TOO_LATE, "Triton was imported before it knew that it is to interpret"
    return torch.device("cpu")


@pytest.fixture
def _kernels(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions under test use the kernels; those named plain never do."""
    monkeypatch.setenv("RENDEROCC_KERNELS", "triton")
