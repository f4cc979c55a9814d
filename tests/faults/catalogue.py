"""All faults, by what they are about."""

from __future__ import annotations

from collections.abc import Mapping

from tests.faults.calibration import CALIBRATION_FAULTS
from tests.faults.clock import CLOCK_FAULTS
from tests.faults.fault import Fault
from tests.faults.images import JPEG_FAULTS, RAW_FAULTS
from tests.faults.network import NETWORK_FAULTS
from tests.faults.requests import LIFECYCLE_FAULTS, PARAMETER_FAULTS, SAVE_FAULTS
from tests.faults.stamps import STAMP_FAULTS
from tests.faults.transforms import TRANSFORM_FAULTS

SECTIONS: Mapping[str, tuple[Fault, ...]] = {
    "Stamps, rates, time": STAMP_FAULTS,
    "Simulated time": CLOCK_FAULTS,
    "Calibration": CALIBRATION_FAULTS,
    "Transforms": TRANSFORM_FAULTS,
    "Images": (*JPEG_FAULTS, *RAW_FAULTS),
    "Publishers, subscribers, the network": NETWORK_FAULTS,
    "Services, parameters, lifecycle": (*SAVE_FAULTS, *PARAMETER_FAULTS, *LIFECYCLE_FAULTS),
}
FAULTS = tuple(fault for faults in SECTIONS.values() for fault in faults)
