"""CPU seconds of a training step: in 32 bits, in bf16, and with what a measurement chose.

    ./run bench training data --recipe nano --recipe default

The ways take turns in one process, a few steps each on the same samples, whose labels are made
first; the first step of a turn is left out. One JSON object a line for each recipe and way: the
quickest step (a busy machine does not blur it) and the median one, samples made in the same process
included, and what was measured at the start.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from renderocc_ros.config import load_class_set
from renderocc_ros.network.renderocc import build_network
from renderocc_ros.network_config import load_network_config
from renderocc_training.commands._label_options import chosen_label_source
from renderocc_training.recipe import load_recipe
from renderocc_training.samples.source import TrainingSource
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.supervision.labels.label_source import open_store
from renderocc_training.trainer.loop import StepReport, make_fabric, train

WAYS = ("32-true", "bf16-mixed", "auto")


def main(
    root: Annotated[Path, typer.Argument(help="data set of `renderocc extract`")],
    recipe: Annotated[list[str], typer.Option(help="repeatable")],
    network: Annotated[str, typer.Option()] = "nano",
    label_source: Annotated[str, typer.Option()] = "images",
    batch_size: Annotated[int, typer.Option(min=1)] = 2,
    turns: Annotated[int, typer.Option(min=1)] = 6,
    steps: Annotated[int, typer.Option(min=2, help="of a turn")] = 3,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """See the module."""
    torch.set_num_threads(threads)
    config = load_network_config(network)
    classes = load_class_set(config.class_set)
    labels = chosen_label_source(label_source, None, None, {}, "nuscenes", root)
    sequences = open_sequences(root, "nuscenes", None, ())
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(labels, classes, Path(folder) / "labels")
        for name in recipe:
            seconds: dict[str, list[float]] = defaultdict(list)
            said: dict[str, str] = {}
            for turn in range(turns):
                for way in WAYS:
                    changes = {"precision": way, "batch_size": batch_size, "mirror": 0.0}
                    plan = load_recipe(name).model_copy(
                        update={**changes, "steps": (turn + 1) * steps}
                    )
                    source = TrainingSource(sequences, store, config, classes, plan)
                    if not turn:
                        for index in range(len(source)):
                            source.sample(index, np.random.default_rng(0))
                    ends: list[float] = []

                    def on_step(_: StepReport, ends: list[float] = ends) -> None:
                        ends.append(time.process_time())

                    def say(line: str, key: str = way, said: dict[str, str] = said) -> None:
                        said[key] = line

                    pretrained = config.architecture.backbone.pretrained is not None
                    train(
                        build_network(config, len(classes), pretrained=pretrained, seed=0),
                        classes, source, plan, Path(folder) / name / way, make_fabric(plan, 1),
                        save_every=steps, on_step=on_step, say=say,
                    )  # fmt: skip
                    seconds[way] += np.diff(ends).tolist()
            for way, each in seconds.items():
                quickest, median = (round(float(f(each)), 3) for f in (np.min, np.median))
                line = {"recipe": name, "way": way, "step_cpu_s": quickest, "median_cpu_s": median}
                print(json.dumps(line | ({"said": said[way]} if way in said else {})), flush=True)


if __name__ == "__main__":
    typer.run(main)
