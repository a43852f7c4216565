"""The detectors that the runtime knows."""

from fer_edge.detection import Detection, Detector, RetinaFace, detect, frames_at_once
from fer_edge.runtime.detection.yunet import YuNet

__all__ = ["Detection", "Detector", "RetinaFace", "YuNet", "detect", "frames_at_once"]
