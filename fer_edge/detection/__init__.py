"""Where the faces in a frame or a photo are."""

from fer_edge.detection.base import Detection, Detector, detect, frames_at_once
from fer_edge.detection.retinaface import RetinaFace

__all__ = ["Detection", "Detector", "RetinaFace", "detect", "frames_at_once"]
