"""The official renderocc-7frame network in plain PyTorch, preset ``swinb-stereo``.

Modules and parameters carry the official ``state_dict`` names, so the published checkpoint loads
key for key and any tool that knows those names works on ours. ``SwinBStereo`` is the three-frame
network, ``SwinBStereoStream`` the same network on a running stream.
"""

from renderocc_ros.network.official.geometry import StereoFrame
from renderocc_ros.network.official.heads import SemanticDensityField
from renderocc_ros.network.official.sizes import SwinBStereoConfig
from renderocc_ros.network.official.streaming import SwinBStereoStream
from renderocc_ros.network.official.swinb_stereo import SwinBStereo

__all__ = [
    "SemanticDensityField",
    "StereoFrame",
    "SwinBStereo",
    "SwinBStereoConfig",
    "SwinBStereoStream",
]
