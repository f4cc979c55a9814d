"""How a recording becomes key frames."""

from __future__ import annotations

from pydantic import Field, model_validator

from renderocc_ros.config import StrictModel

LABEL_KINDS = ("depth", "classes")


class ExtractOptions(StrictModel):
    """Options of ``renderocc extract``; each default stands here."""

    key_frame_s: float = Field(0.5, ge=0, description="seconds between key frames; 0: every set")
    key_frame_m: float | None = Field(
        None, gt=0, description="metres driven between key frames, instead of seconds"
    )
    sweeps: bool = Field(True, description="keep the readings between key frames")
    lidar: str | None = Field(
        None, description="PointCloud2 topic; the only one if not given; empty: none"
    )
    odometry: str | None = Field(
        None, description="Odometry topic that gives the ego pose; tf if not given"
    )
    boxes: str | None = Field(
        None, description="Detection3DArray topic; the only one if not given; empty: none"
    )
    occupancy: str | None = Field(
        None,
        description="SemanticOccupancy topic with 3D truth; /ground_truth/occupancy if not given; "
        "empty: none",
    )
    labels: tuple[str, ...] = Field(
        (),
        description="label images as KIND=TOPIC, where {camera} stands for the camera's name in "
        "lower case: classes=/ground_truth/{camera}/classes",
    )
    namespace: str = Field("", description="namespace of the rig's relative topics")
    location: str = Field("", description="place, for the log table")

    @model_validator(mode="after")
    def _labels_are_pairs(self) -> ExtractOptions:
        for entry in self.labels:
            kind, equals, topic = entry.partition("=")
            if not (kind in LABEL_KINDS and equals and topic.startswith("/")):
                raise ValueError(
                    f"labels: '{entry}' is not KIND=/topic with one of the kinds "
                    f"{', '.join(LABEL_KINDS)}"
                )
            if set("{}") & set(topic.replace("{camera}", "")):
                raise ValueError(f"labels: '{entry}': nothing but {{camera}} stands for a name")
        return self
