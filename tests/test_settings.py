"""Values of configuration files that a command line sets."""

from __future__ import annotations

import pytest

from renderocc_ros.config import StrictModel
from renderocc_ros.network_config import NetworkConfig, load_network_config
from renderocc_ros.settings import sort_settings, with_settings
from renderocc_training.recipe import Recipe, load_recipe
from renderocc_training.supervision.labels.label_source import LabelSource, load_label_source

MODELS: dict[str, type[StrictModel]] = {
    "recipe": Recipe,
    "network": NetworkConfig,
    "label source": LabelSource,
}


def test_each_key_reaches_the_configuration_that_has_it() -> None:
    texts = (
        *("losses.votes=1.5", "rays.auxiliary_frames=[-1, 1]", "image.width=704"),
        *(
            "architecture.depth.stereo.feature=stage1",
            "architecture.backbone.settings.depths=[2, 2]",
        ),
        *("mapping=occ3d_ids", "optimiser.learning_rate=1e-3"),
    )
    settings = sort_settings(texts, MODELS)
    assert settings["network"] == {
        "image.width": 704,
        "architecture.depth.stereo.feature": "stage1",
        "architecture.backbone.settings.depths": [2, 2],
    }
    assert settings["label source"] == {"mapping": "occ3d_ids"}
    recipe = with_settings(load_recipe("default"), settings["recipe"])
    assert (recipe.losses.votes, recipe.losses.query) == (1.5, 1.0)
    assert recipe.rays.auxiliary_frames == (-1, 1)
    assert recipe.optimiser.learning_rate == 1e-3
    network = with_settings(load_network_config("nano"), {"image.width": 704, "cameras": 2})
    assert (network.image.width, network.image.height, network.cameras) == (704, 128, 2)
    source = load_label_source("lidar")
    assert with_settings(source, {}) is source


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("losses.vote=1", "unknown key 'losses.vote'; did you mean 'losses.votes'"),
        ("votes=1", "did you mean 'losses.votes'"),
        ("learning_rate=1", "did you mean 'optimiser.learning_rate'"),
        ("ego_radius=1", "did you mean 'ego_radius_m'"),
        ("zzzz=1", "known keys: name, steps"),
        ("losses.votes", "give KEY=VALUE"),
        ("name=x", "recipe and network have a key 'name' each"),
        ("rays.budget.x=1", "unknown key"),
        ("losses.votes=[", "not valid YAML"),
    ],
)
def test_a_wrong_key_is_refused_with_the_nearest_right_one(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="--set ") as refused:
        sort_settings((text,), MODELS)
    assert message in str(refused.value)


def test_a_value_that_its_key_does_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match="--set: losses.votes: Input should be greater"):
        with_settings(load_recipe("default"), {"losses.votes": -1})
