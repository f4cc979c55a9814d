"""What a run needs to go on as if it had never stopped, written whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

import torch

from renderocc_ros import files

STATE_FILE = "last.pt"
LOCK_FILE = ".training"


def claim(folder: Path) -> IO[bytes]:
    """Keep the trainings of other processes out of a folder, until what is returned is closed.

    Raises:
        ValueError: another process trains there.
    """
    return files.claim(
        folder / LOCK_FILE, f"another training runs in {folder}: give this one another"
    )


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write the state beside the old one, then take its place: a kill leaves one of the two."""
    buffer = io.BytesIO()  # to a full disk PyTorch's own writer says what nobody understands
    torch.save(state, buffer)
    files.write_bytes(folder / STATE_FILE, buffer.getbuffer())


def read_state(folder: Path) -> dict[str, Any] | None:
    """The state of a run in this folder; None if there is none. No code is executed.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to start the run anew") from error
    return state
