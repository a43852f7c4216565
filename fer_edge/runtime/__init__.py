"""From images to emotions on the device: :class:`Recognizer` and what it is made of."""

from fer_edge.contract import EMOTIONS
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_faces
from fer_edge.runtime.capture import Camera, Feed, Frame, State
from fer_edge.runtime.detection import Detection, Detector, RetinaFace, YuNet
from fer_edge.runtime.moment import Moment, SeenFace
from fer_edge.runtime.preprocess import Color, read_image, to_faces
from fer_edge.runtime.recognizer import Prediction, Recognizer

__all__ = [
    "EMOTIONS",
    "Box",
    "Camera",
    "Color",
    "Detection",
    "Detector",
    "Feed",
    "Frame",
    "Moment",
    "Prediction",
    "Recognizer",
    "RetinaFace",
    "SeenFace",
    "State",
    "YuNet",
    "crop_faces",
    "read_image",
    "to_faces",
]
