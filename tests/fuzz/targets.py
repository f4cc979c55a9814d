"""Every reader of files from outside, by name."""

from __future__ import annotations

from tests.fuzz.bag_targets import BAGS
from tests.fuzz.data_set_targets import DATA_SETS
from tests.fuzz.file_targets import FILES
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = FILES | BAGS | DATA_SETS
