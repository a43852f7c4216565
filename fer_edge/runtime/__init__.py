"""From images to emotions on the device: :class:`Recognizer` and what it is made of."""

from fer_edge.runtime.capture import Camera
from fer_edge.runtime.moment import Moment
from fer_edge.runtime.preprocess import Color, read_image, to_faces
from fer_edge.runtime.recognizer import Prediction, Recognizer

__all__ = ["Camera", "Color", "Moment", "Prediction", "Recognizer", "read_image", "to_faces"]
