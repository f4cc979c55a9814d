"""Configuration files: what is shipped loads, and what is wrong is named with its cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from renderocc_ros.config import (
    GridConfig,
    RigConfig,
    config_path,
    load_class_set,
    load_rig,
    load_yaml,
    validate,
)
from renderocc_ros.network_config import NetworkConfig


def test_the_shipped_occ3d_classes() -> None:
    occ3d = load_class_set("occ3d")
    assert len(occ3d) == 17 and occ3d.free_id == 17
    assert occ3d.names[11] == "driveable_surface"
    assert occ3d.colours[4].tolist() == [0, 150, 245]
    moving = {occ3d.names[i] for i in occ3d.moving_ids}
    assert {"bicycle", "motorcycle", "pedestrian", "trailer"} <= moving
    assert not moving & {"others", "barrier", "traffic_cone", "driveable_surface"}
    assert {occ3d.names[i] for i in occ3d.ground_ids} == {
        "driveable_surface", "other_flat", "sidewalk", "terrain",
    }  # fmt: skip
    assert occ3d.id_of("free") == 17


def test_an_unknown_key_is_refused_with_the_nearest_one() -> None:
    rig = {"name": "r", "cameras": [{"name": "front", "image_topik": "a", "image_topic": "a"}]}
    with pytest.raises(ValueError, match=r"'cameras.0.image_topik'; did you mean 'image_topic'\?"):
        validate(rig, RigConfig, "rig.yaml")
    rig = {"name": "r", "cameras": [{"name": "a", "image_topic": "a"}], "sync": {"misssing": "x"}}
    with pytest.raises(ValueError, match="did you mean 'missing'"):
        validate(rig, RigConfig, "rig.yaml")


def test_an_unknown_key_of_one_of_several_models_is_named_as_it_stands_in_the_file() -> None:
    network = load_yaml(config_path("networks", "nano"), NetworkConfig).model_dump()
    parts = network["architecture"]
    parts["depth"]["contxt_channels"] = parts["depth"].pop("context_channels")
    parts["nek"] = parts.pop("neck")
    with pytest.raises(ValueError, match="network") as refused:
        validate(network, NetworkConfig, "network.yaml")
    assert str(refused.value).removeprefix("network.yaml: ").split("; ") == [
        "'architecture.neck' is missing",
        "'architecture.depth.context_channels' is missing",
        "unknown key 'architecture.depth.contxt_channels'",
        "did you mean 'context_channels'?",
        "unknown key 'architecture.nek'",
        "did you mean 'neck'?",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1, "camras": []}, "unknown key 'camras'; did you mean 'cameras'"),
        ({"cameras": []}, "cameras: needs at least 1, has 0"),
        ({"reference": "roof"}, "reference 'roof' is not a camera: front, rear"),
        ({"sync": {"min_cameras": 3}}, "min_cameras = 3, but the rig has 2"),
        ({"sync": {"missing": "guess"}}, "'wait', 'skip', 'mask' or 'reuse'.*got 'guess'"),
        ({"cameras": [{"name": "a", "image_topic": "x"}] * 2}, r"\['a'\] stand more than once"),
        (
            {"cameras": [{"name": name, "image_topic": "x"} for name in "ab"]},
            r"image topics \['x'\] stand more than once",
        ),
    ],
)
def test_a_wrong_value_is_named(change: dict, message: str) -> None:
    cameras = [{"name": name, "image_topic": f"{name}/image"} for name in ("front", "rear")]
    with pytest.raises(ValueError, match=message):
        validate({"name": "r", "cameras": cameras, **change}, RigConfig, "rig.yaml")


def test_a_slash_before_the_name_of_a_frame_means_nothing() -> None:
    camera = {"name": "a", "image_topic": "a/image_raw", "frame": "/a_optical"}
    content = {"name": "r", "cameras": [camera], "base_frame": "/base", "odom_frame": "/odom"}
    rig = validate(content, RigConfig, "rig")
    assert (rig.base_frame, rig.odom_frame, rig.cameras[0].frame) == ("base", "odom", "a_optical")
    assert validate(content | {"odom_frame": None}, RigConfig, "rig").odom_frame is None


def test_camera_info_is_the_sibling_of_the_image() -> None:
    cameras = [
        {"name": "a", "image_topic": "front/image_raw"},
        {"name": "b", "image_topic": "image"},
        {"name": "c", "image_topic": "x/image", "info_topic": "calibration/x"},
    ]
    rig = validate({"name": "r", "cameras": cameras}, RigConfig, "rig")
    topics = [camera.camera_info_topic for camera in rig.cameras]
    assert topics == ["front/camera_info", "camera_info", "calibration/x"]
    assert rig.reference_name == "a"


@pytest.mark.parametrize("key", ["image_topic", "info_topic"])
@pytest.mark.parametrize(
    "topic", ["front camera/image", "front-camera/image", "a//b", "a/", "/", ""]
)
def test_what_ros_takes_for_no_topic_is_refused(key: str, topic: str) -> None:
    camera = {"name": "a", "image_topic": "a", key: topic}
    with pytest.raises(ValueError, match=rf"cameras.0.{key}: .*\(got '{topic}'\)"):
        validate({"name": "r", "cameras": [camera]}, RigConfig, "rig.yaml")
    for good in ("/front/image", "~/image", "front/image_raw", "/{ns}/image"):
        validate({"name": "r", "cameras": [{**camera, key: good}]}, RigConfig, "rig.yaml")


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    for text, message in (
        ("a: [1,", "is broken .*line 1"),
        ("- 1", "holds a list"),
        ("", "is empty"),
        ("size: [1, 1, 1]\nresolution_m: 1\nsize: [2, 2, 2]", "key 'size' stands twice.*line 3"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"(?s){message}"):
            load_yaml(path, GridConfig)
    path.write_bytes(b"a: \xff")
    with pytest.raises(ValueError, match="grid.yaml is broken"):
        load_yaml(path, GridConfig)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_files_as_editors_write_them(tmp_path: Path, encoding: str, line_end: str) -> None:
    path = tmp_path / "grid.yaml"
    lines = ("origin_m: &here [0, 0, 0]  # höher", "resolution_m: 1", "size: [1, 2, 3]", "")
    path.write_bytes(line_end.join(lines).encode(encoding))
    assert load_yaml(path, GridConfig).size == (1, 2, 3)


def test_a_merged_key_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text(
        "name: r\ncameras:\n"
        "  - &front {name: front, image_topic: front/image, compressed: false}\n"
        "  - {<<: *front, name: rear, image_topic: rear/image}\n"
    )
    rig = load_yaml(path, RigConfig)
    assert rig.names == ("front", "rear")
    assert not any(camera.compressed for camera in rig.cameras)


def test_a_path_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rig.yaml").write_text("name: mine\ncameras: [{name: a, image_topic: a}]\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_rig("~/rig.yaml").name == "mine"


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(ValueError, match="no classes file 'occ4d'.*one of:.*occ3d"):
        config_path("classes", "occ4d")
