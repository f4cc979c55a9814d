"""The kernels are programs for a GPU, also where only the interpreter can run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_kernel_compiles_for_a_gpu(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    env = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    script = Path(__file__).with_name("compile_kernels.py")
    done = subprocess.run([sys.executable, script, "80"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kernels = ["sum", "sum_gradient", "matching", *["render", "render_gradient"] * 2]
    assert done.stdout.split() == [f"{name}_kernel" for name in kernels]
