"""What the node is asked to do: parameters, services, transitions."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter

from tests.faults.fault import ANSWER, Fault, Happening
from tests.node.scene import Scene


@contextmanager
def save_to(scene: Scene, folder: str) -> Iterator[str]:
    """~/save with another folder."""
    assert scene.control.set(save_folder=folder) == ""
    response = scene.control.trigger("save")
    yield f"{response.success}: {response.message}"
    assert scene.control.set(save_folder="~/.ros/renderocc") == ""


@contextmanager
def save_to_a_file(scene: Scene) -> Iterator[str]:
    with tempfile.NamedTemporaryFile() as file, save_to(scene, file.name) as answer:
        yield answer


@contextmanager
def save_to_a_full_disk(scene: Scene) -> Iterator[str]:
    """A file system of 4 kB; what was begun is taken away again."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder]
        if os.geteuid() or subprocess.run(mounted, check=False).returncode:
            yield "False: 'save_folder': not tried, mounting takes root"
            return
        try:
            with save_to(scene, folder) as answer:
                left = [path.name for path in Path(folder).iterdir()]
                yield f"{answer}; left there: {left}"
        finally:
            subprocess.run(["umount", folder], check=True)


def setting(**values: Any) -> Happening:
    """Parameters that are refused; the reason is the answer."""

    @contextmanager
    def happens(scene: Scene) -> Iterator[str]:
        yield scene.control.set(**values)

    return happens


def unset(name: str) -> Happening:
    """A parameter that is taken away."""

    @contextmanager
    def happens(scene: Scene) -> Iterator[str]:
        yield scene.control.set_all([Parameter(name, Parameter.Type.NOT_SET)])

    return happens


@contextmanager
def storm(scene: Scene, values: dict[str, list[Any]], period_s: float) -> Iterator[None]:
    """Parameters that change all the time, and change back."""
    stop = threading.Event()
    usual = {name: choices[0] for name, choices in values.items()}

    def change() -> None:
        for number in itertools.count(1):
            scene.control.set(**{n: each[number % len(each)] for n, each in values.items()})
            if stop.wait(period_s):
                return

    thread = threading.Thread(target=change)
    thread.start()
    yield
    stop.set()
    thread.join()
    assert scene.control.set(**usual) == ""


@contextmanager
def calls(scene: Scene, service: str, number: int) -> Iterator[str]:
    """A service, again and again."""
    answers = [scene.control.trigger(service).success for _ in range(number)]
    yield f"{sum(answers)} of {number}"


def transition(*numbers: int) -> Happening:
    """Transitions, which are refused where they do not fit the state."""

    @contextmanager
    def happens(scene: Scene) -> Iterator[str]:
        yield ", ".join(str(scene.control.change(number)) for number in numbers)

    return happens


DOWN = (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)
UP = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)


@contextmanager
def deactivated(scene: Scene) -> Iterator[str]:
    answer = str(scene.control.change(Transition.TRANSITION_DEACTIVATE))
    yield answer
    assert scene.control.change(Transition.TRANSITION_ACTIVATE)


@contextmanager
def with_another_rig(scene: Scene, rig: str) -> Iterator[str]:
    """Cleaned up, and configured with a rig that cannot be."""
    usual = scene.control.get("rig")
    assert all(scene.control.change(number) for number in DOWN)
    assert scene.control.set(rig=rig) == ""
    assert not scene.control.change(Transition.TRANSITION_CONFIGURE)
    yield None
    assert scene.control.set(rig=usual) == ""
    assert all(scene.control.change(number) for number in UP)


@contextmanager
def with_a_rig_file_of(scene: Scene, content: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rig.yaml"
        path.write_text(content)
        with with_another_rig(scene, str(path)) as answer:
            yield answer


@contextmanager
def sim_time_and_back(scene: Scene) -> Iterator[str]:
    """use_sim_time is switched on where nobody sends /clock."""
    assert scene.control.set(use_sim_time=True) == ""
    yield None
    assert scene.control.set(use_sim_time=False) == ""


def no(name: str, *says: str, in_ci: bool = False, **values: Any) -> Fault:
    """A value that is refused, with what would be taken."""
    return Fault(f"parameter {name}", setting(**values), ANSWER, says, in_ci=in_ci)


SAVE_FAULTS = (
    Fault(
        "~/save into the home of nobody",
        partial(save_to, folder="~nobody_of_this_name/here"),
        ANSWER,
        ("False: ", "set the parameter 'save_folder'"),
        in_ci=True,
    ),
    Fault(
        "~/save into /proc",
        partial(save_to, folder="/proc/nowhere"),
        ANSWER,
        ("False: ", "'save_folder'"),
        in_ci=True,
    ),
    Fault(
        "~/save into a folder of 100,000 letters",
        partial(save_to, folder="/tmp/" + "x" * 100_000),
        ANSWER,
        ("False: ", "'save_folder'"),
    ),
    Fault(
        "~/save where a file is",
        save_to_a_file,
        ANSWER,
        ("False: ", "'save_folder'"),
    ),
    Fault(
        "~/save on a full disk",
        save_to_a_full_disk,
        ANSWER,
        ("False: ", "'save_folder'"),
    ),
    Fault(
        "~/save fifty times",
        partial(calls, service="save", number=50),
        ANSWER,
        ("50 of 50",),
        shows_after_s=3.0,
    ),
    Fault(
        "~/reset fifty times",
        partial(calls, service="reset", number=50),
        ANSWER,
        ("50 of 50",),
        shows_after_s=3.0,
    ),
)

PARAMETER_FAULTS = (
    no("rendered.width_px: 4096", "rendered.width_px", "1024", rendered__width_px=4096, in_ci=True),
    no("rendered.width_px: -1", "rendered.width_px", rendered__width_px=-1),
    no("threshold: two", "Wrong parameter type", threshold="two", in_ci=True),
    no("threshold: .nan", "threshold", threshold=float("nan"), in_ci=True),
    no("threshold: .inf", "threshold", threshold=float("inf")),
    no("threshold: 1e300", "threshold", threshold=1e300),
    no("threshold: [0.5]", "Wrong parameter type", threshold=[0.5]),
    no("min_confidence: .nan", "min_confidence", min_confidence=float("nan")),
    no("image_depth: 0", "image_depth", image_depth=0),
    no("image_depth: 9223372036854775807", "image_depth", image_depth=2**63 - 1),
    no("image_depth: true", "Wrong parameter type", image_depth=True),
    no("cameras: [nobody]", "cameras: there is no 'nobody'", cameras=["nobody"], in_ci=True),
    no("outputs: [everything]", "outputs", "'points'", outputs=["everything"]),
    no("points.classes: [unicorn]", "there is no 'unicorn'", points__classes=["unicorn"]),
    no("sync.missing: perhaps", "sync.missing", "'mask'", sync__missing="perhaps"),
    no("sync.min_cameras: 99", "sync.min_cameras", sync__min_cameras=99),
    no("sync.timeout_s: .nan", "sync.timeout_s", sync__timeout_s=float("nan")),
    no("sync.period_s: 1e-9", "period_s", sync__period_s=1e-9),
    no("costmap.height_m: [2.0, 1.0]", "lower one first", costmap__height_m=[2.0, 1.0]),
    no("costmap.height_m: [.nan, 1.0]", "costmap.height_m", costmap__height_m=[float("nan"), 1.0]),
    no("costmap.height_m: []", "costmap.height_m", costmap__height_m=[0.5]),
    no("marker_limit: 0", "marker_limit", marker_limit=0),
    no("diagnostics_period_s: 0.0", "diagnostics_period_s", diagnostics_period_s=0.0),
    no("max_rate_hz: -1.0", "max_rate_hz", max_rate_hz=-1.0),
    no("treshold (no such name)", "undeclared", treshold=0.5, in_ci=True),
    no("checkpoint while the node is active", "call cleanup", checkpoint="/tmp/x.safetensors"),
    no("threads after the start", "", threads=4),
    Fault(
        "parameter threshold taken away",
        unset("threshold"),
        ANSWER,
        ("cannot be undeclared",),
        in_ci=True,
    ),
    Fault("parameter cameras taken away", unset("cameras"), ANSWER, ("cannot be undeclared",)),
    Fault(
        "storm of parameters that open the inputs anew",
        partial(storm, values={"image_depth": [2, 3, 4]}, period_s=0.1),
        least=0.4,
        in_ci=True,
    ),
    Fault(
        "storm of thresholds",
        partial(
            storm,
            values={"threshold": [-1.0, 0.1, 0.9], "marker_limit": [50_000, 1]},
            period_s=0.02,
        ),
    ),
    Fault(
        "use_sim_time switched on without a /clock",
        sim_time_and_back,
        "clock",
        ("use_sim_time is true, but no time came on /clock (0 publishers)",),
        least=0.0,
        in_ci=True,
    ),
)

LIFECYCLE_FAULTS = (
    Fault(
        "transitions that do not fit the state",
        transition(
            Transition.TRANSITION_CONFIGURE,
            Transition.TRANSITION_ACTIVATE,
            Transition.TRANSITION_CLEANUP,
            99,
        ),
        ANSWER,
        ("False, False, False, False",),
        in_ci=True,
    ),
    Fault(
        "deactivated and activated five times in a row",
        transition(*(Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE) * 5),
        ANSWER,
        (", ".join(["True"] * 10),),
        least=0.0,
    ),
    Fault("deactivated for a while", deactivated, "state", ("inactive",), (), in_ci=True),
    Fault(
        "taken down and brought up three times in a row",
        transition(*(*DOWN, *UP) * 3),
        ANSWER,
        (", ".join(["True"] * 12),),
        least=0.0,
    ),
    Fault(
        "configured with a rig that is not there",
        partial(with_another_rig, rig="/nowhere/rig.yaml"),
        "lifecycle",
        ("configure failed", "/nowhere/rig.yaml"),
        (),
        in_ci=True,
    ),
    Fault(
        "configured with a rig file of damaged YAML",
        partial(with_a_rig_file_of, content="cameras: [&a {x: *a, : ]["),
        "lifecycle",
        ("configure failed", "rig.yaml"),
        (),
    ),
)
