"""The detectors that the runtime knows."""

from fer_edge.detection import (
    Detection,
    Detector,
    Pixels,
    RetinaFace,
    detect,
    frames_at_once,
    look,
)
from fer_edge.runtime.detection.yunet import YuNet

__all__ = [
    "Detection",
    "Detector",
    "Pixels",
    "RetinaFace",
    "YuNet",
    "detect",
    "frames_at_once",
    "look",
]
