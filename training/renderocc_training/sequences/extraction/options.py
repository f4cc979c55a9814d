"""How a recording becomes key frames."""

from __future__ import annotations

from pydantic import Field

from renderocc_training.recording.bag_layout import TopicOptions


class ExtractOptions(TopicOptions):
    """Options of ``renderocc extract``; each default stands here or in ``TopicOptions``."""

    key_frame_s: float = Field(0.5, ge=0, description="seconds between key frames; 0: every set")
    key_frame_m: float | None = Field(
        None, gt=0, description="metres driven between key frames, instead of seconds"
    )
    sweeps: bool = Field(True, description="keep the readings between key frames")
    location: str = Field("", description="place, for the log table")
