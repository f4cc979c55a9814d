"""Run a model on recordings and score it: the same code as the live node, or the node itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from renderocc_ros.checkpoint import file_sha256
from renderocc_ros.config import RigConfig, load_rig
from renderocc_ros.files import file_name
from renderocc_ros.occupancy.occ3d_files import read_occupancy
from renderocc_ros.prediction import Predictor
from renderocc_ros.prediction.models import model_file
from renderocc_ros.prediction.options import PRECISIONS
from renderocc_ros.progress import JobProgress
from renderocc_training.commands._score_table import percent, score_table
from renderocc_training.commands._ways_to_truth import ways_to_truth
from renderocc_training.evaluation.bag_output import BagOutput
from renderocc_training.evaluation.label_files import Mask
from renderocc_training.evaluation.recorded_sets import RecordedSets
from renderocc_training.evaluation.rendered_views import BagLabels
from renderocc_training.evaluation.replay import (
    Evaluation,
    Published,
    PublishedSet,
    Source,
    skipped_as_json,
)
from renderocc_training.evaluation.results import ResultsWriter, without_nan
from renderocc_training.evaluation.sequence_rays import sequence_ray_scores
from renderocc_training.evaluation.sequence_sets import SequenceSets
from renderocc_training.evaluation.summary import latency_summary, summarise
from renderocc_training.evaluation.truth_sources import (
    BagTruth,
    FileTruth,
    NoTruth,
    TruthSource,
    find_truth_topics,
)
from renderocc_training.recording.bag_layout import NO_CHOICE, TopicOptions
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.bag_writer import BagWriter
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.sequences.model import unique_names

NO_FILES = (
    "not scored, it has no 3D truth: give --truth FOLDER of TOKEN/labels.npz (`renderocc truth` "
    "makes it from LiDAR)"
)


def evaluate(
    model: Annotated[
        str, typer.Argument(help="checkpoint or .onnx; or a network's name: its shipped weights")
    ],
    recordings: Annotated[
        list[Path],
        typer.Argument(help="bags (rosbag2 folder, .mcap, .db3), or nuScenes: data root or tables"),
    ],
    out: Annotated[Path, typer.Option(help="new folder for scores and predictions")],
    rig: Annotated[str, typer.Option(help="rig of the recordings: shipped name or .yaml")] = (
        "nuscenes"
    ),
    namespace: Annotated[str, typer.Option(help="of the robot: its transforms, its topics")] = "",
    odometry: Annotated[
        str | None, typer.Option(help="Odometry topic for the ego pose; tf if not given")
    ] = None,
    name: Annotated[str | None, typer.Option(help="what reports call this result")] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="folder of Occ3D files, TOKEN/labels.npz; else the bag's own truth"),
    ] = None,
    truth_topic: Annotated[
        str | None, typer.Option(help="SemanticOccupancy topic; /ground_truth/… if not given")
    ] = None,
    mask: Annotated[Mask, typer.Option(help="score only voxels that this sensor sees")] = "camera",
    views: Annotated[
        bool, typer.Option("--views", help="also render the cameras' views and score them")
    ] = False,
    depth_labels: Annotated[
        str, typer.Option(help="depth images, along the optical axis, for --views")
    ] = "/ground_truth/{camera}/depth",
    class_labels: Annotated[str, typer.Option(help="class id images, for --views")] = (
        "/ground_truth/{camera}/classes"
    ),
    rays: Annotated[
        bool, typer.Option("--rays", help="RayIoU too: seconds a frame; needs --predictions")
    ] = False,
    lidar_at: Annotated[
        tuple[float, float, float],
        typer.Option(help="x y z of the LiDAR in the ego frame, metres: where --rays start"),
    ] = (0.94, 0.0, 1.84),
    predictions: Annotated[bool, typer.Option(help="keep the predicted voxels, as .npz")] = True,
    images: Annotated[bool, typer.Option(help="keep small pictures, for the report")] = True,
    bag: Annotated[
        Path | None, typer.Option(help="also write the predictions as a new bag (MCAP)")
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="play the bag through the real node over DDS, score what it "
            "publishes, and compare that with the replay label by label",
        ),
    ] = False,
    rate: Annotated[float, typer.Option(min=0.01, help="pace of --live")] = 1.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    precision: Annotated[str, typer.Option(help=", ".join(PRECISIONS))] = "fp32",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="occupied above; the model's own if not given"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the scores as one JSON object")] = False,
) -> None:
    """Run a model on recordings and score it.

    renderocc evaluate model.safetensors monday tuesday --rig robot.yaml --out results

    Every synchronised set is run, in order, through the same matching, preprocessing and prediction
    as in the live node. What was left out is counted by reason. Show the result with
    `renderocc report`.
    """
    if live and (len(recordings) != 1 or _is_nuscenes(recordings[0])):
        raise ValueError("--live plays one bag: give a single recording that is a bag")
    if live and (namespace or odometry):
        raise ValueError("--live plays the bag as it is: --namespace and --odometry are not for it")
    if rays and not predictions:
        raise ValueError("--rays reads the predictions again: leave out --no-predictions")
    console = Console(stderr=True)
    config = load_rig(rig)
    predictor, about = load_predictor(
        model, console, device=device, precision=precision, threads=threads
    )
    if threshold is not None:
        predictor.threshold = threshold
    writer = ResultsWriter(out, predictions, images)
    published: Published | None = None
    if live:
        options = {"precision": precision}
        options |= {"threads": str(threads)} if threads else {}
        options |= {"threshold": str(threshold)} if threshold is not None else {}
        published = _played_live(recordings[0], rig, model, out, predictor, rate, options, console)
    content = evaluated(
        predictor,
        about,
        name or out.name,
        recordings,
        writer,
        config,
        mask,
        console,
        truth=truth,
        truth_topic=truth_topic,
        topics=TopicOptions(namespace=namespace, odometry=odometry),
        labels={"depth": depth_labels, "classes": class_labels} if views else {},
        bag=bag,
        lidar_at=lidar_at if rays else None,
        published=published,
    )
    shown = {key: value for key, value in content.items() if key not in ("confusion",)}
    if as_json:
        typer.echo(json.dumps(without_nan(shown)))
    else:
        _show(content, Console())
    if not content["frames_scored"] and "views" not in content:
        ways = ways_to_truth(
            model,
            recordings[0],
            rig,
            predictor.config.name,
            is_data_set=_is_nuscenes(recordings[0]),
        )
        console.print("\n".join(ways), soft_wrap=True, markup=False, highlight=False)
    console.print(f"results: {out}", soft_wrap=True, markup=False)


def evaluated(
    predictor: Predictor,
    about: dict[str, Any],
    name: str,
    recordings: list[Path],
    writer: ResultsWriter,
    rig: RigConfig,
    mask: Mask,
    console: Console,
    truth: Path | None = None,
    truth_topic: str | None = None,
    topics: TopicOptions = NO_CHOICE,
    labels: Mapping[str, str] | None = None,
    bag: Path | None = None,
    lidar_at: tuple[float, float, float] | None = None,
    published: Published | None = None,
) -> dict[str, Any]:
    """Run a predictor on recordings and write the results; see :func:`evaluate` for the options.

    Args:
        about: what is known of the model.
        lidar_at: for RayIoU; None for none.

    Returns:
        what ``results.json`` holds, without its frames.
    """
    problems: list[str] = []
    names = _Names(problems)
    with ExitStack() as stack:
        output = None
        if bag is not None:
            opened = stack.enter_context(BagWriter(bag, compress=True))
            output = BagOutput(opened, predictor.class_set, rig.base_frame, rig.odom_frame)
        evaluation = Evaluation(predictor, writer, mask, output, published)
        with JobProgress(console, transient=True) as progress:
            for recording in recordings:
                for source, left_out in _sources(
                    recording,
                    names,
                    predictor,
                    rig,
                    truth,
                    truth_topic,
                    topics,
                    labels or {},
                    stack,
                ):
                    task = progress.add_task(source.name, total=None)
                    evaluation.run(source, lambda _, task=task: progress.advance(task))  # type: ignore[misc]
                    evaluation.skipped.update(left_out)
    if not evaluation.frames:
        reasons = [f"{what}: {why} ({n})" for (what, why), n in evaluation.skipped.items()]
        raise ValueError(
            f"no set could be evaluated: {'; '.join(reasons) or 'the recordings hold no images'}"
        )
    content = _content(evaluation, predictor, rig, about, name, recordings, mask)
    content["problems"] = problems
    if lidar_at is not None:
        console.print("casting rays …")
        content["ray_iou"] = sequence_ray_scores(
            writer.folder, evaluation.poses, predictor.grid, predictor.class_set, lidar_at
        )
    writer.finish(
        content, predictor.class_set, predictor.grid, evaluation.frames, evaluation.counts
    )
    return content


def load_predictor(
    model: str, console: Console, **options: Any
) -> tuple[Predictor, dict[str, Any]]:
    """A checkpoint, an exported file, or a network's name: with the weights that come with it, or
    with seeded random ones where there are none."""
    path = model_file(model)
    if path is not None:
        if not path.is_file():
            raise ValueError(f"no model at {model}")
        predictor = Predictor.from_checkpoint(path, **options)
        about = {"file": path.name, "sha256": file_sha256(path), "random": False}
    else:
        predictor = Predictor.from_preset(model, **options)
        about = {"file": "", "sha256": "", "random": True}
        console.print(
            f"'{model}' has random weights here: the scores mean nothing",
            style="yellow",
            markup=False,
        )
    about |= {"network": predictor.config.name, "device": str(predictor.device)}
    return predictor, about


def _is_nuscenes(recording: Path) -> bool:
    return recording.is_dir() and (
        (recording / "sample_data.json").is_file() or any(recording.glob("*/sample_data.json"))
    )


class _Names:
    """Gives each source a name that no other has, and says where it had to be changed."""

    def __init__(self, problems: list[str]) -> None:
        self.problems, self._given = problems, [""]

    def __call__(self, wanted: str, source: Path) -> str:
        *_, name = self._given = unique_names([*self._given, file_name(wanted, "recording")])
        if name != wanted:
            self.problems.append(f"{source}: called '{name}', there is another '{wanted}'")
        return name


def _sources(
    recording: Path,
    names: _Names,
    predictor: Predictor,
    rig: RigConfig,
    truth: Path | None,
    truth_topic: str | None,
    topics: TopicOptions,
    labels: Mapping[str, str],
    stack: ExitStack,
) -> Iterator[tuple[Source, Counter[tuple[str, str]]]]:
    """The parts of a recording, and the counter of what each leaves out."""
    grid, image, problems = predictor.grid, predictor.config.image, names.problems
    files = FileTruth(truth, grid, predictor.class_set) if truth is not None else None
    if _is_nuscenes(recording):
        for sequence in open_sequences(recording, as_recorded=True):
            sets, name = SequenceSets(sequence, rig, image), names(sequence.name, recording)
            problems += [f"{name}: {problem}" for problem in sequence.problems]
            yield Source(name, sets, files or NoTruth()), sets.skipped
        problems += files.problems(recording.name) if files else [f"{recording.name}: {NO_FILES}"]
        return
    sets_of_bag = RecordedSets(recording, rig, image, topics)
    problems += [f"{recording.name}: {text}" for text in sets_of_bag.problems]
    reader = stack.enter_context(BagReader(recording))
    beside: TruthSource = files or NoTruth()
    truth_topics = None if files else find_truth_topics(reader, truth_topic)
    if truth_topics is not None:
        beside = BagTruth(reader, *truth_topics, grid, predictor.class_set)
    elif files is None:
        problems.append(f"{recording.name}: {NO_FILES}, or --truth-topic")
    images = BagLabels(reader, labels, rig.names) if labels else None
    if images is not None and not images:
        problems.append(f"{recording.name}: no label images on {', '.join(labels.values())}")
    stem = names(recording.stem if recording.is_file() else recording.resolve().name, recording)
    tokens = ((f"{stem}_{each.stamp_ns}", each) for each in sets_of_bag)
    yield Source(stem, tokens, beside, images), sets_of_bag.skipped
    problems += files.problems(recording.name) if files else []


def _played_live(
    bag: Path,
    rig_name: str,
    model: str,
    out: Path,
    predictor: Predictor,
    rate: float,
    options: dict[str, str],
    console: Console,
) -> Published:
    from renderocc_ros.tools.live_recording import record_live

    parameters = {"rig": rig_name, "device": str(predictor.device)} | options
    file = model_file(model)
    parameters |= {"checkpoint": str(file.resolve())} if file else {"network": model}
    folder = out / "live"
    cameras = record_live(bag, parameters, folder, predictor.class_set, rate, console)

    def published(stamp_ns: int) -> PublishedSet | None:
        if stamp_ns not in cameras:
            return None
        file = folder / f"{stamp_ns}.npz"
        occupancy = read_occupancy(file, predictor.grid, predictor.class_set)
        return PublishedSet(occupancy, cameras[stamp_ns])

    return published


def _content(
    evaluation: Evaluation,
    predictor: Predictor,
    rig: RigConfig,
    about: dict[str, Any],
    name: str,
    recordings: list[Path],
    mask: Mask,
) -> dict[str, Any]:
    frames = evaluation.frames
    content: dict[str, Any] = {
        "name": name,
        "model": about | {"threshold": predictor.threshold},
        "recordings": [path.name for path in recordings],
        "rig": rig.name,
        "cameras": list(rig.names),
        "mask": mask,
        "frames_evaluated": len(frames),
        "frames_scored": len(evaluation.counts),
        **summarise(evaluation.total, predictor.class_set),
        "latency_ms": latency_summary([frame.latency_ms for frame in frames]),
        "skipped": skipped_as_json(evaluation.skipped),
    }
    if evaluation.agreement is not None:
        content["live_agreement"] = asdict(evaluation.agreement)
    return content


def _show(content: dict[str, Any], console: Console) -> None:
    scored = f"{content['frames_scored']} of {content['frames_evaluated']} frames scored"
    if content["frames_scored"]:
        console.print(score_table(f"{scored}, mask: {content['mask']}", content["scores"]))
        ece = content["calibration"]["expected_calibration_error"]
        console.print(f"calibration error (ECE) {percent(ece)} % (of one probability for all: 0)")
    else:
        console.print(scored)
    if "flicker" in content["scores"]:
        flicker = percent(content["scores"]["flicker"])
        console.print(f"flicker {flicker} % (of the same labels in every frame: 0)")
    if "ray_iou" in content:
        cast = content["ray_iou"]
        at = ", ".join(f"{percent(v)} at {m} m" for m, v in cast["at_m"].items())
        console.print(f"RayIoU {percent(cast['ray_iou'])} % ({at})")
    if "views" in content:
        view = content["views"]
        console.print(
            f"rendered views: AbsRel {view['depth_abs_rel']:.3f}, "
            f"RMSE {view['depth_rmse_m']:.2f} m, "
            f"δ<1.25 {percent(view['depth_delta'][0])} %, mIoU {percent(view['semantic_miou'])} %"
        )
    latency = Table("stage", "p50 ms", "p95 ms", title="latency")
    for stage, value in content["latency_ms"].items():
        latency.add_row(stage, f"{value['p50']:.1f}", f"{value['p95']:.1f}")
    console.print(latency)
    if "live_agreement" in content:
        same = content["live_agreement"]
        console.print(
            f"live node and replay: {same['sets_identical']} of {same['sets']} sets identical, "
            f"{same['voxels_different']} of {same['voxels']:,} voxels differ"
        )
    for problem in content["problems"]:
        console.print(problem, style="yellow", markup=False)
    if content["skipped"]:
        table = Table("left out", "why", "count")
        for entry in content["skipped"]:
            table.add_row(entry["what"], entry["why"], str(entry["count"]))
        console.print(table)
