"""Where the faces in a frame or a photo are."""

from fer_edge.detection.base import Detection, Detector, Pixels, detect, frames_at_once, look
from fer_edge.detection.retinaface import RetinaFace

__all__ = ["Detection", "Detector", "Pixels", "RetinaFace", "detect", "frames_at_once", "look"]
