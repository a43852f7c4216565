"""OpenCV's own detector."""

from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.detection.base import Detection, Image
from fer_edge.errors import ModelError
from fer_edge.pixels.boxes import Box
from fer_edge.runtime.capture.opencv import load_cv2


class YuNet:
    """OpenCV's detector, from a model file of the OpenCV Zoo (face_detection_yunet).

    Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research.

    Parameters
    ----------
    model : str or Path
        The ONNX file.
    min_score : float
        Less sure faces are left out, 0..1.

    Raises
    ------
    MissingDependencyError
        OpenCV is not installed.
    ModelError
        The file is not there, or not YuNet.
    """

    def __init__(self, model: str | Path, *, min_score: float = 0.7) -> None:
        cv2 = load_cv2("YuNet needs")
        if not Path(model).is_file():
            raise ModelError(
                f"There is no file {model}.",
                hint="Get face_detection_yunet from the OpenCV Zoo.",
            )
        try:
            self._net: Any = cv2.FaceDetectorYN.create(str(model), "", (320, 320), min_score)
        except cv2.error as error:
            raise ModelError(
                f"{model} is not a model that OpenCV finds faces with.",
                hint="Get face_detection_yunet from the OpenCV Zoo.",
            ) from error

    def __call__(self, image: Image) -> list[Detection]:
        bgr = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        self._net.setInputSize((bgr.shape[1], bgr.shape[0]))
        _, found = self._net.detect(np.ascontiguousarray(bgr))
        rows = [] if found is None else found
        return [Detection(Box(*map(float, row[:4])), float(row[-1])) for row in rows]
