"""Models on the Hugging Face hub: one .safetensors file and a card, so loading runs no code."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi, hf_hub_download

from renderocc_ros.checkpoint import file_sha256, read_header

SCHEME = "hf://"
MODEL_FILE = "model.safetensors"
CARD_FILE = "README.md"  # where the hub looks for it

_CARD = """\
---
library_name: renderocc_ros
tags: [robotics, ros2, semantic-occupancy]
---
# {repository}

Semantic 3D occupancy from the images of a robot's cameras, for ROS 2, by
[RenderOcc](https://arxiv.org/abs/2309.09502).

```python
import renderocc_ros as renderocc

model = renderocc.load("hf://{repository}")
voxels = model(images, intrinsics, ego_from_camera)
```

The node takes it as `checkpoint:=hf://{repository}`, every command as `hf://{repository}`.

| | |
|---|---|
| network | `{network}`, of images of {width} x {height} pixels |
| cameras | {cameras} |
| voxels | {shape} of {resolution_m:g} m |
| where | x {x} m (forward), y {y} m (left), z {z} m (up) from the robot |
| classes | `{class_set}`: {classes} |
| occupied | where `{read_out}` is above {threshold:g} |
| sha256 | `{sha256}` |

This card was written from the checkpoint, which does not know what the network was trained on, nor
how well it does: say it here.
"""


def is_on_hub(name: str | Path) -> bool:
    """Whether a model is named by its place on the hub."""
    return str(name).startswith(SCHEME)


def hub_file(name: str) -> Path:
    """The file of ``hf://organisation/name`` or ``hf://organisation/name@revision``, in the hub's
    cache; downloaded where it is not there yet.

    Raises:
        ValueError: no such repository or file, or the hub is not within reach.
    """
    repository, _, revision = name.removeprefix(SCHEME).partition("@")
    try:
        return Path(hf_hub_download(repository, MODEL_FILE, revision=revision or None))
    except (OSError, ValueError) as error:  # what huggingface_hub raises is one of them
        raise ValueError(
            f"{name}: no {MODEL_FILE} from the hub ({_first_line(error)}); check the name and the "
            "network, and for a private repository run `hf auth login`"
        ) from error


def push(file: Path, repository: str, *, private: bool = False, token: str | None = None) -> str:
    """Put a checkpoint on the hub as it is, and beside it a card unless one is there already.

    Args:
        repository: ``organisation/name``; made where there is none.
        private: whether a new repository is.
        token: that may write; else the one of ``hf auth login`` or HF_TOKEN.

    Returns:
        the address of the commit.

    Raises:
        ValueError: not a checkpoint, a name that the hub refuses, no right to write, no network.
    """
    card = model_card(file, repository)  # refuses what is no checkpoint before the hub is asked
    hub = HfApi(token=token)
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        with TemporaryDirectory() as folder:
            shutil.copy(file, Path(folder, MODEL_FILE))
            if not hub.file_exists(repository, CARD_FILE):
                Path(folder, CARD_FILE).write_text(card, encoding="utf-8")
            done = hub.upload_folder(
                repo_id=repository, folder_path=folder, commit_message=f"Upload {file.name}"
            )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{SCHEME}{repository}: not uploaded ({_first_line(error)}); check the name "
            "(organisation/name), the network, and that `hf auth login` has a token that may write"
        ) from error
    return str(done.commit_url)


def model_card(file: Path, repository: str) -> str:
    """A card in Markdown that says what the header of a checkpoint tells."""
    header = read_header(file)
    config, grid = header.config, header.config.grid.build()
    x, y, z = (
        f"{low:g} to {high:g}" for low, high in zip(grid.origin_m, grid.upper_m, strict=True)
    )
    return _CARD.format(
        repository=repository,
        network=config.name,
        width=config.image.width,
        height=config.image.height,
        cameras="any number" if config.cameras is None else config.cameras,
        shape=" x ".join(map(str, grid.size)),
        resolution_m=grid.resolution_m,
        x=x, y=y, z=z,
        class_set=header.class_set.name,
        classes=", ".join(header.class_set.names),
        read_out=config.read_out,
        threshold=config.opacity_threshold,
        sha256=file_sha256(file),
    )  # fmt: skip


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
