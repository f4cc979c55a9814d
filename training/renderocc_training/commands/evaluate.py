"""Run a model on recordings and score it: the same code as the live node, or the node itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from renderocc_ros.checkpoint import file_sha256
from renderocc_ros.config import load_rig
from renderocc_ros.occupancy.occ3d_files import read_occupancy
from renderocc_ros.prediction import Predictor
from renderocc_ros.prediction.models import model_file
from renderocc_ros.prediction.options import PRECISIONS
from renderocc_ros.processes import workers
from renderocc_ros.progress import JobProgress, tracked, working
from renderocc_training.commands._label_options import Ray
from renderocc_training.commands._score_table import percent, score_table
from renderocc_training.commands._ways_to_truth import ways_to_truth
from renderocc_training.evaluation.bag_output import BagOutput
from renderocc_training.evaluation.label_files import Mask
from renderocc_training.evaluation.recordings import (
    Names,
    Plan,
    begin_worker,
    count_on,
    is_nuscenes,
    run_sources,
)
from renderocc_training.evaluation.replay import (
    Evaluation,
    Published,
    PublishedSet,
    skipped_as_json,
)
from renderocc_training.evaluation.results import ResultsWriter, without_nan
from renderocc_training.evaluation.sequence_rays import sequence_ray_scores
from renderocc_training.evaluation.summary import latency_summary, summarise
from renderocc_training.recording.bag_layout import TopicOptions
from renderocc_training.recording.bag_writer import BagWriter


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
    ray: Ray = None,
    as_json: Annotated[bool, typer.Option("--json", help="the scores as one JSON object")] = False,
) -> None:
    """Run a model on recordings and score it.

    renderocc evaluate model.safetensors monday tuesday --rig robot.yaml --out results

    Every synchronised set is run, in order, through the same matching, preprocessing and prediction
    as in the live node. What was left out is counted by reason. Show the result with
    `renderocc report`.
    """
    if live and (len(recordings) != 1 or is_nuscenes(recordings[0])):
        raise ValueError("--live plays one bag: give a single recording that is a bag")
    if live and (namespace or odometry):
        raise ValueError("--live plays the bag as it is: --namespace and --odometry are not for it")
    if ray is not None and (live or bag is not None):
        raise ValueError("--ray shares out recordings: leave out --live and --bag")
    if rays and not predictions:
        raise ValueError("--rays reads the predictions again: leave out --no-predictions")
    console = Console(stderr=True)
    config = load_rig(rig)
    runs = {"device": device, "precision": precision, "threads": threads}
    predictor, about = load_predictor(model, console, **runs)
    if threshold is not None:
        predictor.threshold = threshold
    labels = {"depth": depth_labels, "classes": class_labels} if views else {}
    writer = ResultsWriter(out, predictions, images)
    topics = TopicOptions(namespace=namespace, odometry=odometry)
    plan = Plan(config, writer, mask, truth, truth_topic, topics, labels)
    published: Published | None = None
    if live:
        options = {"precision": precision}
        options |= {"threads": str(threads)} if threads else {}
        options |= {"threshold": str(threshold)} if threshold is not None else {}
        published = _played_live(recordings[0], rig, model, out, predictor, rate, options, console)
    pool = None
    if ray is not None:
        begin = (begin_worker, (model, predictor.threshold, runs))
        pool = workers(1, ray, len(recordings), *begin, device=device)
    content = evaluated(
        predictor,
        about,
        name or out.name,
        recordings,
        plan,
        console,
        bag=bag,
        lidar_at=lidar_at if rays else None,
        published=published,
        pool=pool,
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
            is_data_set=is_nuscenes(recordings[0]),
        )
        console.print("\n".join(ways), soft_wrap=True, markup=False, highlight=False)
    console.print(f"results: {out}", soft_wrap=True, markup=False)


def evaluated(
    predictor: Predictor,
    about: dict[str, Any],
    name: str,
    recordings: list[Path],
    plan: Plan,
    console: Console,
    bag: Path | None = None,
    lidar_at: tuple[float, float, float] | None = None,
    published: Published | None = None,
    pool: AbstractContextManager[Executor] | None = None,
) -> dict[str, Any]:
    """Run a predictor on recordings and write the results; see :func:`evaluate` for the options.

    Args:
        about: what is known of the model.
        lidar_at: for RayIoU; None for none.
        pool: workers that do it instead; see ``count_on``.

    Returns:
        what ``results.json`` holds, without its frames.
    """
    problems: list[str] = []
    names, rig = Names(problems), plan.rig
    with ExitStack() as stack:
        output = None
        if bag is not None:
            opened = stack.enter_context(BagWriter(bag, compress=True))
            output = BagOutput(opened, predictor.class_set, rig.base_frame, rig.odom_frame)
        evaluation = Evaluation(predictor, plan.writer, plan.mask, output, published)
        if pool is not None:
            each = count_on(stack.enter_context(pool), recordings, plan, names)
            for counts, more in tracked(each, "recordings", console, len(recordings)):
                evaluation.counted.add(counts)
                problems += more
        with JobProgress(console, transient=True) as progress:

            def advance(source: str) -> Callable[[int], None]:
                task = progress.add_task(source, total=None)
                return lambda stamp_ns: progress.advance(task)

            for recording in recordings if pool is None else ():
                run_sources(evaluation, predictor, recording, plan, names, problems, stack, advance)
    counted = evaluation.counted
    if not counted.frames:
        reasons = [f"{what}: {why} ({n})" for (what, why), n in counted.skipped.items()]
        raise ValueError(
            f"no set could be evaluated: {'; '.join(reasons) or 'the recordings hold no images'}"
        )
    content = _content(evaluation, predictor, plan, about, name, recordings)
    content["problems"] = problems
    if lidar_at is not None:
        with working("casting rays", console):
            content["ray_iou"] = sequence_ray_scores(
                plan.writer.folder, counted.poses, predictor.grid, predictor.class_set, lidar_at
            )
    plan.writer.finish(content, predictor.class_set, predictor.grid, counted.frames, counted.counts)
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
    plan: Plan,
    about: dict[str, Any],
    name: str,
    recordings: list[Path],
) -> dict[str, Any]:
    counted, rig = evaluation.counted, plan.rig
    frames = counted.frames
    content: dict[str, Any] = {
        "name": name,
        "model": about | {"threshold": predictor.threshold},
        "recordings": [path.name for path in recordings],
        "rig": rig.name,
        "cameras": list(rig.names),
        "mask": plan.mask,
        "frames_evaluated": len(frames),
        "frames_scored": len(counted.counts),
        **summarise(counted.total, predictor.class_set),
        "latency_ms": latency_summary([frame.latency_ms for frame in frames]),
        "skipped": skipped_as_json(counted.skipped),
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
