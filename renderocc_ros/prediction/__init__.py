"""From a set of camera images to semantic occupancy, with no ROS.

predictor = Predictor.from_checkpoint("model.safetensors")
occupancy = predictor.predict(camera_set)
"""

from renderocc_ros.prediction.options import Options
from renderocc_ros.prediction.predictor import Predictor

__all__ = ["Options", "Predictor"]
