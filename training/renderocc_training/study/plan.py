"""What a study trains: tables of rows, each a recipe with some keys changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import Field, model_validator

from renderocc_ros.config import StrictModel, config_path, load_yaml
from renderocc_ros.network_config import NetworkConfig, load_network_config
from renderocc_ros.settings import sort_settings, with_settings
from renderocc_training.recipe import Recipe, load_recipe
from renderocc_training.supervision.labels.label_source import LabelSource, load_label_source

MODELS: dict[str, type[StrictModel]] = {
    "recipe": Recipe,
    "network": NetworkConfig,
    "label source": LabelSource,
}


class StudyRow(StrictModel):
    """One way to train."""

    name: str = Field(min_length=1)
    like: str | None = Field(None, description="row of the same table whose settings come first")
    network: str | None = Field(None, description="instead of the study's")
    recipe: str | None = Field(None, description="instead of the study's")
    label_source: str | None = Field(None, description="instead of the study's")
    steps: int | None = Field(
        None, gt=0, description="instead of the study's; to compare rows at equal cost"
    )
    settings: tuple[str, ...] = Field((), description="KEY=VALUE of recipe, network, label source")


class StudyTable(StrictModel):
    """Rows to compare, and what is claimed of them."""

    title: str
    claim: str = Field(description="what others or we say should come out, with its source")
    against: str = Field(description="name of the row that the others are compared with")
    curve: bool = Field(False, description="names are numbers: draw the scores over them")
    rows: tuple[StudyRow, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _rows_are_known(self) -> StudyTable:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError(f"table '{self.title}': two rows have one name: {names}")
        for number, row in enumerate(self.rows):
            if row.like is not None and row.like not in names[:number]:
                raise ValueError(f"row '{row.name}': like '{row.like}' is no row above it")
        if self.against not in names:
            raise ValueError(f"table '{self.title}': against '{self.against}' is none of {names}")
        return self


class Study(StrictModel):
    """A study: what its rows have in common, and its tables."""

    name: str = Field(min_length=1)
    like: str | None = Field(
        None,
        description="another study, a shipped one or a .yaml: what is not said here is said there, "
        "and its settings come first",
    )
    network: str = Field("nano-resnet", description="a shipped preset, or a .yaml")
    recipe: str = "default"
    label_source: str = "images"
    steps: int = Field(400, gt=0, description="of each training")
    settings: tuple[str, ...] = Field((), description="KEY=VALUE for all rows")
    tables: tuple[StudyTable, ...] = ()

    def with_steps(self, steps: int) -> Study:
        """The same with so many steps in every row."""
        rows = (
            (table, tuple(row.model_copy(update={"steps": None}) for row in table.rows))
            for table in self.tables
        )
        tables = tuple(table.model_copy(update={"rows": each}) for table, each in rows)
        return self.model_copy(update={"steps": steps, "tables": tables})


@dataclass(frozen=True)
class Plan:
    """A row with everything that decides its training but the seed."""

    recipe: Recipe
    network: NetworkConfig
    labels: LabelSource

    @property
    def key(self) -> str:
        """The same for rows of several tables that train alike."""
        return _digest(self.recipe, self.network, self.labels)

    @property
    def labels_key(self) -> str:
        """The same for rows of one label source."""
        return _digest(self.labels)


def _digest(*parts: StrictModel) -> str:
    text = "".join(part.model_dump_json() for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def load_study(name: str, like: tuple[str, ...] = ()) -> Study:
    """A study by the name of a shipped one ("claims"), or by path.

    Args:
        like: names of the studies that are like this one.

    Raises:
        ValueError: not there, not strict YAML, without a table, or like itself.
    """
    if name in like:
        raise ValueError(f"study '{name}' is like itself: {' like '.join((*like, name))}")
    study = load_yaml(config_path("studies", name), Study)
    if study.like is not None:
        base = load_study(study.like, (*like, name))
        said = {key: getattr(study, key) for key in study.model_fields_set}
        said["settings"] = (*base.settings, *study.settings)
        study = base.model_copy(update=said)
    if not study.tables:
        raise ValueError(f"study '{study.name}' has no tables: give them, or like: STUDY")
    return study


def plans(study: Study, table: StudyTable) -> Iterator[tuple[StudyRow, Plan]]:
    """The rows of a table with what they train.

    Raises:
        ValueError: a setting that no configuration takes, or a file that is not there.
    """
    rows = {row.name: row for row in table.rows}
    for row in table.rows:
        lineage = [row]
        while (like := lineage[0].like) is not None:
            lineage.insert(0, rows[like])
        settings = [*study.settings, *(text for each in lineage for text in each.settings)]
        network, recipe, labels, steps = (
            next(
                (v for each in reversed(lineage) if (v := getattr(each, key))), getattr(study, key)
            )
            for key in ("network", "recipe", "label_source", "steps")
        )
        changes = sort_settings(settings, MODELS)
        changes["recipe"]["steps"] = steps
        yield (
            row,
            Plan(
                with_settings(load_recipe(recipe), changes["recipe"]),
                with_settings(load_network_config(network), changes["network"]),
                with_settings(load_label_source(labels), changes["label source"]),
            ),
        )
