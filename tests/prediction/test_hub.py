"""Models go to the Hugging Face hub and come back; the hub is a server on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from renderocc_ros.checkpoint import Model, file_sha256, save_checkpoint
from renderocc_ros.hub import hub_file, model_card
from renderocc_ros.prediction.models import model_file

COMMIT = "0123456789abcdef0123456789abcdef01234567"
THERE_AND_BACK = """
import sys
import renderocc_ros as renderocc

model = renderocc.load(sys.argv[1])
print(model.push_to_hub("lab/robot"))
print(renderocc.load("hf://lab/robot").file)
print(renderocc.load("hf://lab/robot@main").file)
with open(sys.argv[2], "a") as card:
    card.write("trained on our robot")
model.push_to_hub("lab/robot")
"""
WITHOUT_SUCCESS = """
import sys
from pathlib import Path
from renderocc_ros.hub import hub_file, push

for call in (lambda: hub_file("hf://lab/robot"), lambda: push(Path(sys.argv[1]), "lab/robot")):
    try:
        call()
    except ValueError as error:
        print(error)
"""


class Hub(BaseHTTPRequestHandler):
    """The few answers of the hub's API that an upload and a download ask for, from a folder."""

    folder: Path

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self._answer({"url": f"{self._address}/lab/robot"})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif self.path == "/api/models/lab/robot/preupload/main":
            paths = [each["path"] for each in json.loads(content)["files"]]
            modes = [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]
            self._answer({"files": modes})
        elif self.path == "/api/models/lab/robot/commit/main":
            for line in map(json.loads, content.splitlines()):
                if line["key"] == "file":
                    data = base64.b64decode(line["value"]["content"])
                    (self.folder / line["value"]["path"]).write_bytes(data)
            url = f"{self._address}/lab/robot/commit/{COMMIT}"
            self._answer({"commitUrl": url, "commitOid": COMMIT})
        else:
            self.send_error(404, self.path)

    def do_GET(self) -> None:
        name = self.path.removeprefix("/lab/robot/resolve/main/")
        file = self.folder / Path(name).name
        if self.path.startswith("/api/models/lab/robot"):
            self._answer({"id": "lab/robot", "sha": COMMIT, "siblings": []})
        elif name == self.path or not file.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if name != self.path else "")
            self.send_header("X-Repo-Commit", COMMIT)
            self._end(b"")
        else:
            data = file.read_bytes()
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self._end(data)

    do_HEAD = do_GET

    @property
    def _address(self) -> str:
        return f"http://{self.headers['Host']}"

    def _answer(self, content: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self._end(json.dumps(content).encode())

    def _end(self, data: bytes) -> None:
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a process whose hub is the folder ``hub``."""
    (tmp_path / "hub").mkdir()
    handler = type("Here", (Hub,), {"folder": tmp_path / "hub"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        **os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_TOKEN": "hf_x",
        "HF_HOME": str(tmp_path / "cache"), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1",
    }  # fmt: skip
    server.shutdown()
    server.server_close()


@pytest.fixture
def checkpoint(tiny_model: Callable[..., Model], tmp_path: Path) -> Path:
    save_checkpoint(tiny_model(), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def run(program: str, *words: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=env)


def test_there_and_back(hub: dict[str, str], checkpoint: Path, tmp_path: Path) -> None:
    done = run(THERE_AND_BACK, checkpoint, tmp_path / "hub" / "README.md", env=hub)
    assert done.returncode == 0, done.stderr
    address, *files = done.stdout.split()
    assert address.endswith(f"/lab/robot/commit/{COMMIT}")
    assert [file_sha256(file) for file in files] == [file_sha256(checkpoint)] * 2
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == [
        "README.md",
        "model.safetensors",
    ]
    card = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    assert f"`{file_sha256(checkpoint)}`" in card and "ground, wall, cart" in card
    assert card.endswith("trained on our robot")  # what someone wrote stays


def test_what_the_hub_lacks_is_told_with_the_cure(hub: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "hub" / "model.bin").write_bytes(b"code")
    (tmp_path / "other.safetensors").write_bytes(b"\0" * 100)
    done = run(WITHOUT_SUCCESS, tmp_path / "other.safetensors", env=hub)
    lacks, is_none = done.stdout.splitlines()
    assert lacks.startswith("hf://lab/robot: no model.safetensors from the hub")
    assert "check the name and the network" in lacks
    assert "is not a whole safetensors file" in is_none
    assert [path.name for path in (tmp_path / "hub").iterdir()] == ["model.bin"]


@pytest.mark.parametrize("name", ["hf://", "hf://a/b/c", "hf://../../etc/passwd", "hf://a b/c"])
def test_no_name_of_a_repository(name: str) -> None:
    with pytest.raises(ValueError, match="no model.safetensors from the hub"):
        hub_file(name)
    with pytest.raises(ValueError, match="from the hub"):
        model_file(name)


def test_the_card_says_what_the_header_tells(checkpoint: Path) -> None:
    card = model_card(checkpoint, "lab/robot")
    assert card.startswith("---\nlibrary_name: renderocc_ros\n")
    for part in ("hf://lab/robot", "| cameras | any number |", "is above 0.1 |"):
        assert part in card
