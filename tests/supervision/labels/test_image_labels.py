"""Labels from images of classes and depth: files of a recording, and real models with seeds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import transformers
from box_world import LENS, NOTHING, STREET

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_training.sequences.model import CameraImage, RecordedSequence
from renderocc_training.supervision.labels.dense import DenseLabels, WithClassImages
from renderocc_training.supervision.labels.hub import load_pretrained
from renderocc_training.supervision.labels.interface import NoClasses
from renderocc_training.supervision.labels.label_images import ClassImageFiles, DepthImageFiles
from renderocc_training.supervision.labels.label_source import LabelSource, make_labeller
from renderocc_training.supervision.labels.lidar_depth import LidarLabels
from renderocc_training.supervision.labels.mapping import NameMapping, NumberMapping, load_names
from renderocc_training.supervision.labels.mono_depth import MonoDepthImages, load_mono_depth
from renderocc_training.supervision.labels.segmentation import SegmentationImages, load_segmentation

CLASS_OF_BOX = np.array([4, 4, 7, 15, 15, 15])
GROUND_CLASS = 11
WORDS = {0: "road", 1: "sky", 2: "car"}
MAPPING = NameMapping(
    kind="names",
    classes={"driveable_surface": ("road",), "sky": ("sky",), "car": ("car",)},
)


def true_images(camera: CameraImage) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) range, and number of what is seen."""
    pose = camera.world_from_sensor
    rays = LENS.pixel_rays().reshape(-1, 3) @ pose.rotation.T
    range_m, what = STREET.cast(pose.translation, rays, camera.stamp_ns * 1e-9)
    shape = (LENS.height, LENS.width)
    return range_m.reshape(shape), what.reshape(shape)


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> RecordedSequence:
    sequence = STREET.record(tmp_path_factory.mktemp("street"), frames=2)
    for frame in sequence.frames:
        for camera in filter(None, frame.cameras):
            range_m, what = true_images(camera)
            class_id = np.where(what >= 0, CLASS_OF_BOX[np.maximum(what, 0)], GROUND_CLASS)
            class_id = np.where(what == NOTHING, 17, class_id).astype(np.uint8)
            depth_mm = np.nan_to_num(range_m * LENS.pixel_rays()[..., 2], posinf=0) * 1000
            depth_mm = np.where(depth_mm < 65535, depth_mm, 0).round().astype(np.uint16)
            for kind, image in (("classes", class_id), ("depth", depth_mm)):
                folder = sequence.root / "labels" / kind / camera.name
                folder.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / f"{camera.stamp_ns // 1000}.png"), image)
    return sequence


def first_camera(sequence: RecordedSequence) -> CameraImage:
    camera = sequence.frames[0].cameras[0]
    assert camera is not None
    return camera


def test_label_images_give_range_class_and_sky(sequence: RecordedSequence, occ3d: ClassSet) -> None:
    config = LabelSource(depth="images", semantics="images", stride_px=4)
    camera = first_camera(sequence)
    labels = make_labeller(config, occ3d).label(sequence, sequence.frames[0], camera)
    range_m, what = true_images(camera)
    column, row = labels.pixels.astype(int).T
    truth, seen = range_m[row, column], what[row, column]
    assert len(labels.range_m) > 0.9 * (LENS.width // 4) * (LENS.height // 4)
    sky = seen == NOTHING
    assert sky.sum() > 100 and np.isinf(labels.range_m[sky]).all()
    assert (labels.class_id[sky] == IGNORE_ID).all()
    near = ~sky & (truth < 60)
    assert np.abs(labels.range_m - truth)[near].max() < 0.002  # half a millimetre of depth
    assert (labels.class_id[~sky] == np.where(seen >= 0, CLASS_OF_BOX[seen], 11)[~sky]).all()


def test_numbers_of_other_label_images_are_mapped(
    sequence: RecordedSequence, occ3d: ClassSet
) -> None:
    swapped = NumberMapping(kind="numbers", classes={4: "truck", 11: "terrain", 17: "sky"})
    result = ClassImageFiles(occ3d, swapped).classes(
        sequence, sequence.frames[0], first_camera(sequence)
    )
    plain = ClassImageFiles(occ3d).classes(sequence, sequence.frames[0], first_camera(sequence))
    assert (result[plain == 4] == occ3d.id_of("truck")).all()
    assert (result[plain == 11] == occ3d.id_of("terrain")).all()
    assert (result[plain == 17] == occ3d.free_id).all() and (result[plain == 15] == IGNORE_ID).all()


def test_missing_and_wrong_label_images_are_named(
    sequence: RecordedSequence, occ3d: ClassSet, tmp_path: Path
) -> None:
    camera = first_camera(sequence)
    elsewhere = replace(sequence, root=tmp_path)
    with pytest.raises(ValueError, match=r"no label image .*depth.*--labels depth=/topic"):
        DepthImageFiles().ranges(elsewhere, sequence.frames[0], camera)
    folder = tmp_path / "labels" / "classes" / camera.name
    folder.mkdir(parents=True)
    wrong = np.full((LENS.height, LENS.width), 77, np.uint8)
    cv2.imwrite(str(folder / f"{camera.stamp_ns // 1000}.png"), wrong)
    with pytest.raises(ValueError, match=r"holds \[77\]: not a class of 'occ3d'"):
        ClassImageFiles(occ3d).classes(elsewhere, sequence.frames[0], camera)


def test_lidar_points_take_classes_of_images_which_add_the_sky(
    sequence: RecordedSequence, occ3d: ClassSet
) -> None:
    camera, frame = first_camera(sequence), sequence.frames[0]
    lidar = LidarLabels(occ3d, NoClasses())
    base = lidar.label(sequence, frame, camera)
    both = WithClassImages(occ3d, lidar, ClassImageFiles(occ3d), 8).label(sequence, frame, camera)
    count = len(base.range_m)
    assert np.array_equal(both.range_m[:count], base.range_m)
    assert np.isinf(both.range_m[count:]).all() and len(both.range_m) > count + 50
    image = ClassImageFiles(occ3d).classes(sequence, frame, camera)
    column, row = np.round(base.pixels).astype(int).T
    shown = image[row, np.minimum(column, LENS.width - 1)]
    assert ((both.class_id[:count] == shown) | (shown == occ3d.free_id)).mean() > 0.99


# ------------------------------------------------------------------ models, small and seeded


def segformer(folder: Path | None = None) -> tuple[Any, Any]:
    config = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16],
        patch_sizes=[3, 3], strides=[2, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2],
        decoder_hidden_size=16, id2label=WORDS,
    )  # fmt: skip
    size = {"height": 48, "width": 80}
    return (
        transformers.SegformerForSemanticSegmentation(config),
        transformers.SegformerImageProcessor(size=size),
    )


def swin() -> Any:
    return transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip


QUERIES = {
    "hidden_dim": 32, "encoder_feedforward_dim": 32, "dim_feedforward": 32, "encoder_layers": 1,
    "decoder_layers": 2, "num_attention_heads": 2, "num_queries": 6, "id2label": WORDS,
}  # fmt: skip
SIZE = {"height": 64, "width": 96}


def mask2former(folder: Path | None = None) -> tuple[Any, Any]:
    config = transformers.Mask2FormerConfig(
        backbone_config=swin(), feature_size=32, mask_feature_size=32, **QUERIES
    )
    return (
        transformers.Mask2FormerForUniversalSegmentation(config),
        transformers.Mask2FormerImageProcessor(size=SIZE),
    )


LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
TOKENS = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]


def letters() -> Any:
    """A real tokenizer, with one token for each letter."""
    arguments = {token: number for number, token in enumerate(TOKENS)}
    return transformers.CLIPTokenizer(vocab=arguments, merges=[], model_max_length=77)


def oneformer(folder: Path) -> tuple[Any, Any]:
    """With its tokenizer, which reads the task."""
    names = {str(k): {"name": name, "isthing": int(name == "car")} for k, name in WORDS.items()}
    (folder / "names.json").write_text(json.dumps(names))
    images = transformers.OneFormerImageProcessor(
        repo_path=str(folder), class_info_file="names.json", size=SIZE, num_text=2
    )
    config = transformers.OneFormerConfig(
        backbone_config=swin(), conv_dim=32, mask_dim=32, text_encoder_width=32,
        text_encoder_vocab_size=len(TOKENS), text_encoder_num_layers=1, query_dec_layers=1,
        use_task_norm=True, **QUERIES,
    )  # fmt: skip
    return (
        transformers.OneFormerForUniversalSegmentation(config),
        transformers.OneFormerProcessor(image_processor=images, tokenizer=letters()),
    )


@pytest.mark.parametrize("make", [segformer, mask2former, oneformer])
def test_models_give_class_images_as_their_probabilities_say(
    make: Any, occ3d: ClassSet, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    model, processor = make(tmp_path)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    everything = load_segmentation(str(tmp_path), occ3d, MAPPING, 0.0).segment(image)
    allowed = {occ3d.id_of("driveable_surface"), occ3d.free_id, occ3d.id_of("car")}
    assert everything.shape == (90, 160) and set(np.unique(everything)) <= allowed

    result = SegmentationImages(model, processor, occ3d, MAPPING, 0.0)
    with torch.no_grad():
        probability = result._probabilities(image)
    assert probability.min() >= 0 and probability.sum(dim=0).max() <= 1 + 1e-5
    limit = float(probability.max(dim=0).values.median())
    careful = SegmentationImages(model, processor, occ3d, MAPPING, limit).segment(image)
    unsure = careful == IGNORE_ID
    assert 0.3 < unsure.mean() < 0.7
    assert (careful[~unsure] == everything[~unsure]).all()


def test_a_promptable_model_takes_the_mappings_words(occ3d: ClassSet, tmp_path: Path) -> None:
    torch.manual_seed(1)
    text = {"vocab_size": len(TOKENS), "hidden_size": 16, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 77,
            "bos_token_id": 0, "eos_token_id": 1}  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3,
              "num_attention_heads": 2, "image_size": 32, "patch_size": 8}  # fmt: skip
    config = transformers.CLIPSegConfig(
        text_config=text, vision_config=vision, projection_dim=16, reduce_dim=8,
        extract_layers=[0, 1], decoder_num_attention_heads=2, decoder_intermediate_size=16,
    )  # fmt: skip
    transformers.CLIPSegForImageSegmentation(config).save_pretrained(tmp_path)
    images = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    transformers.CLIPSegProcessor(images, letters()).save_pretrained(tmp_path)

    image = np.random.default_rng(0).integers(0, 255, (60, 100, 3), dtype=np.uint8)
    model = load_segmentation(str(tmp_path), occ3d, MAPPING, 0.0)
    probability = model._probabilities(image)
    assert probability.shape[0] == 3 and (probability[0] != probability[2]).any()
    other = NameMapping(kind="names", classes={"car": ("road", "sky", "car")})
    same = load_segmentation(str(tmp_path), occ3d, other, 0.0)
    assert torch.allclose(same._probabilities(image), probability)  # the words alone decide
    assert (same.segment(image) == occ3d.id_of("car")).all()
    wordless = NameMapping(kind="names", classes={"car": ("tram", "van", "bus")})
    different = load_segmentation(str(tmp_path), occ3d, wordless, 0.0)
    assert not torch.allclose(different._probabilities(image), probability)
    assert (load_segmentation(str(tmp_path), occ3d, MAPPING, 1.0).segment(image) == 255).all()


def depth_anything(kind: str) -> Any:
    backbone = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, patch_size=14,
        neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=8, head_hidden_size=8,
        depth_estimation_type=kind, max_depth=40,
    )  # fmt: skip
    return transformers.DepthAnythingForDepthEstimation(config)


def test_mono_depth_becomes_range_along_the_ray(
    sequence: RecordedSequence, occ3d: ClassSet, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = depth_anything("metric")
    for weight in model.head.parameters():  # untrained, it would say the same everywhere
        weight.data = torch.randn_like(weight)
    model.save_pretrained(tmp_path)
    transformers.DPTImageProcessor(size={"height": 56, "width": 84}).save_pretrained(tmp_path)
    camera = first_camera(sequence)
    ranges = load_mono_depth(str(tmp_path), 60.0).ranges(sequence, sequence.frames[0], camera)
    depth = ranges * LENS.pixel_rays()[..., 2]
    assert ranges.shape == (LENS.height, LENS.width)
    assert np.nanmin(depth) > 0 and np.nanmax(depth) <= 40  # the model's own bound
    assert ranges[0, 0] / depth[0, 0] == pytest.approx(1 / LENS.pixel_rays()[0, 0, 2])
    near = load_mono_depth(str(tmp_path), float(np.nanmedian(depth)))
    assert 0.3 < np.isnan(near.ranges(sequence, sequence.frames[0], camera)).mean() < 0.7
    labels = DenseLabels(occ3d, None, near, 8).label(sequence, sequence.frames[0], camera)
    assert np.isfinite(labels.range_m).all() and len(labels.range_m) > 100


def zoedepth() -> Any:
    backbone = transformers.BeitConfig(
        image_size=32, patch_size=16, hidden_size=16, num_hidden_layers=4, num_attention_heads=2,
        intermediate_size=32, out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.ZoeDepthConfig(
        backbone_config=backbone, bottleneck_features=8, neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8, bin_embedding_dim=8, num_attractors=[4, 2, 1, 1],
        patch_transformer_hidden_size=8, patch_transformer_intermediate_size=16,
        num_patch_transformer_layers=1, patch_transformer_num_attention_heads=1,
    )  # fmt: skip
    return transformers.ZoeDepthForDepthEstimation(config).eval()


def test_depth_of_a_model_that_pads_is_that_of_the_image_alone(
    sequence: RecordedSequence, tmp_path: Path
) -> None:
    """ZoeDepth's processor adds a mirrored rim to images unless told otherwise."""
    torch.manual_seed(0)
    model = zoedepth()
    for part in (model.neck, model.relative_head, model.metric_head):  # see above
        for weight in part.parameters():
            weight.data = torch.randn_like(weight)
    processor = transformers.ZoeDepthImageProcessor(
        size={"height": 64, "width": 96}, ensure_multiple_of=32, keep_aspect_ratio=False
    )
    assert processor.do_pad
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    camera = first_camera(sequence)
    ranges = load_mono_depth(str(tmp_path), np.inf).ranges(sequence, sequence.frames[0], camera)
    image = cv2.cvtColor(cv2.imread(str(camera.file)), cv2.COLOR_BGR2RGB)
    depths = []
    for padded in (False, True):
        inputs = processor(images=image, do_pad=padded, return_tensors="pt")
        with torch.no_grad():
            depth = model(**inputs).predicted_depth[0].numpy()
        depths.append(cv2.resize(depth, (LENS.width, LENS.height)))
    depth = ranges * LENS.pixel_rays()[..., 2]
    known = np.isfinite(depth)
    assert np.array_equal(known, depths[0] > 0) and known.mean() > 0.2
    assert np.allclose(depth[known], depths[0][known], rtol=1e-4)
    assert not np.allclose(depth[known], depths[1][known], rtol=1e-2)


def test_relative_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="inverse depth; choose one that answers in metres"):
        MonoDepthImages(depth_anything("relative"), None, 60.0)


def test_an_unreachable_hub_says_what_to_download(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    name = "somebody/a-model-that-is-not-here"
    with pytest.raises(ValueError, match="hf download somebody/a-model-that-is-not-here"):
        load_pretrained(transformers.AutoConfig, name, cache_dir=tmp_path)


def test_other_models_are_refused(tmp_path: Path, occ3d: ClassSet) -> None:
    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="bert, which transformers cannot use for segmentation"):
        load_segmentation(str(tmp_path), occ3d, MAPPING, 0.5)


def test_a_class_that_the_mapping_lacks_is_named(occ3d: ClassSet) -> None:
    partial = NameMapping(kind="names", classes={"sky": ("sky",), "car": ("car",)})
    with pytest.raises(ValueError, match="lacks: road"):
        SegmentationImages(*segformer(), occ3d, partial, 0.5)


@pytest.mark.parametrize(
    ("file", "count", "some"),
    [
        ("cityscapes", 19, {"road": "driveable_surface", "Traffic Sign": "manmade"}),
        ("mapillary", 66, {"Lane Marking - General": "driveable_surface", "Sky": "sky"}),
        ("ade20k", 150, {"road, route": "driveable_surface", "tree": "vegetation"}),
    ],
)
def test_shipped_mappings(file: str, count: int, some: dict[str, str], occ3d: ClassSet) -> None:
    mapping = load_names(file)
    assert len(mapping.pairs()) >= count
    ids = mapping.table(dict(enumerate(some)), occ3d, "test")
    wanted = [occ3d.free_id if name == "sky" else occ3d.id_of(name) for name in some.values()]
    assert ids[: len(some)].tolist() == wanted


def test_a_name_under_two_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="stands under 'car' and under 'truck'"):
        NameMapping(kind="names", classes={"car": ("van",), "truck": ("Van",)})
