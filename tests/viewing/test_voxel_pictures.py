"""Pictures show the right colour in the right place."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.viewing.voxel_surface import voxel_surface

OCC3D = load_class_set("occ3d")
GRID = VoxelGrid((-8.0, -8.0, -1.0), 0.5, (32, 32, 8))
FREE = OCC3D.free_id


def occupancy(labels: np.ndarray) -> SemanticOccupancy:
    return SemanticOccupancy(0, GRID, OCC3D, labels.astype(np.uint8), labels.astype(np.uint8))


def all_free() -> np.ndarray:
    return np.full(GRID.size, FREE, np.uint8)


def test_a_lone_voxel_has_six_faces_that_point_outwards() -> None:
    labels = all_free()
    labels[3, 4, 5] = OCC3D.id_of("car")
    surface = voxel_surface(occupancy(labels))
    assert len(surface.normals) == 6
    assert (surface.colours == (0, 150, 245)).all()
    corners = surface.vertices_m.reshape(6, 4, 3)
    centre = GRID.centres((3, 4, 5))
    assert np.allclose(corners.mean(axis=1) - centre, 0.25 * surface.normals)
    winding = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 1])
    assert np.allclose(winding / np.linalg.norm(winding, axis=1, keepdims=True), surface.normals)


def test_faces_between_voxels_are_left_out() -> None:
    labels = all_free()
    labels[2:5, 6:8, 0] = 4  # a block of 3 x 2 x 1 cells has 22 outer faces
    assert len(voxel_surface(occupancy(labels)).normals) == 22


def test_faces_at_the_edge_of_the_grid_are_drawn() -> None:
    assert len(voxel_surface(occupancy(np.zeros(GRID.size))).normals) == 2 * (32 * 32 + 2 * 32 * 8)


def test_picture_from_above_has_forward_up_and_left_left() -> None:
    pytest.importorskip("pyvista", reason="extra 'view' is not installed")
    from renderocc_ros.viewing.voxel_picture import from_above

    labels = all_free()
    labels[:, :, 0] = OCC3D.id_of("terrain")
    labels[24:30, 24:30, 1:4] = OCC3D.id_of("bus")  # forward left
    picture = from_above(occupancy(labels), 320, 320).astype(int)
    yellow = (picture[..., 0] > 150) & (picture[..., 1] > 150) & (picture[..., 2] < 60)
    rows, columns = np.nonzero(yellow)
    scale = 0.51 * 2 * 16.0 / 320  # metres a pixel
    # cells 24 to 29 reach from 4 to 7 m forward and left of the origin in the middle
    assert abs(rows.mean() - (160 - 5.5 / scale)) < 6
    assert abs(columns.mean() - (160 - 5.5 / scale)) < 6
    green = (picture[..., 1] > 150) & (picture[..., 0] < 160) & (picture[..., 2] < 120)
    assert green.mean() > 0.7


def test_nothing_occupied_is_still_a_picture() -> None:
    pytest.importorskip("pyvista", reason="extra 'view' is not installed")
    from renderocc_ros.viewing.voxel_picture import in_perspective

    assert in_perspective(occupancy(all_free()), 64, 48).shape == (48, 64, 3)


def test_overview_holds_every_camera_and_counts_classes(tmp_path: Path) -> None:
    pytest.importorskip("pyvista", reason="extra 'view' is not installed")
    from renderocc_ros.viewing.overview import class_counts, overview, write_png

    labels = all_free()
    labels[0, 0, :5], labels[1, 1, :2] = 4, 7
    colours = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (250, 250, 10)]
    images = {f"cam{i}": np.full((90, 160, 3), c, np.uint8) for i, c in enumerate(colours)}
    picture = overview(images, occupancy(labels), "title")
    assert picture.shape[1:] == (1920, 3)
    for colour in colours:  # a camera tile is about 629 x 354 pixels
        assert np.count_nonzero((picture == colour).all(axis=-1)) > 150_000
    assert class_counts(occupancy(labels)) == {"car": 5, "pedestrian": 2}
    write_png(tmp_path / "new" / "picture.png", picture)
    read = cv2.imread(str(tmp_path / "new" / "picture.png"))
    assert (read[..., ::-1] == picture).all()


def test_frames_of_a_film_have_one_size_whatever_they_lack() -> None:
    pytest.importorskip("pyvista", reason="extra 'view' is not installed")
    from renderocc_ros.geometry import CameraModel, RigidTransform
    from renderocc_ros.rig.camera_set import CameraSet, PosedImage
    from renderocc_ros.viewing.frame_picture import FramePainter
    from renderocc_ros.viewing.view_frame import ViewFrame

    model = CameraModel(40, 20, np.array([[20.0, 0, 19.5], [0, 20, 9.5], [0, 0, 1]]))
    pose = RigidTransform(np.eye(3), np.zeros(3))
    red, blue = (np.full((20, 40, 3), c, np.uint8) for c in ((250, 10, 10), (10, 10, 250)))
    images = [PosedImage(n, 0, c, model, pose) for n, c in (("a", red), ("b", blue))]
    cars = all_free()
    cars[20:30, 10:20, 0] = OCC3D.id_of("car")
    cameras = CameraSet(0, ("a", "b"), tuple(images))
    whole = ViewFrame(0, cameras, occupancy(cars), occupancy(cars), np.zeros((5, 3), np.float32))
    partial = ViewFrame(10**9, CameraSet(10**9, ("a", "b"), (None, images[1])), None, whole.truth)
    painter = FramePainter(whole)
    first, second = painter.paint(whole), painter.paint(partial)
    assert first.shape == second.shape

    def pixels(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
        return np.count_nonzero((abs(picture.astype(int) - colour) < 40).all(axis=-1))

    assert pixels(first, (250, 10, 10)) > 50_000 and pixels(second, (250, 10, 10)) < 100
    assert pixels(second, (10, 10, 250)) > 50_000
    sides = [
        picture[:, half] for picture in (first, second) for half in (slice(960), slice(960, None))
    ]
    seen = [pixels(side[:-150], (0, 150, 245)) > 1000 for side in sides]
    assert seen == [True, True, False, True]  # the second frame has truth alone
