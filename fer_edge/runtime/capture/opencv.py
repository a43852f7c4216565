"""Cameras and GStreamer pipelines through OpenCV."""

import contextlib
import importlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fer_edge.errors import CaptureError, MissingDependencyError, UsageError
from fer_edge.runtime.capture.base import Image, Reader

_UNCOMPRESSED = 640 * 480
"""Pixels that USB 2 carries 30 times a second as they are."""
# OpenCV has one level for all threads that use it.
_counting = threading.Lock()
_using = 0
_level = 0


def open_device(
    device: int | str, size: tuple[int, int] | None = None, fps: float | None = None
) -> Reader:
    """Open a camera by number or by path (``/dev/video0``), and ask it for a size and a rate.

    Raises
    ------
    CaptureError
        There is none, or another program holds it.
    MissingDependencyError
        OpenCV is not installed.
    """
    cv2 = load_cv2("Cameras need")
    hint = "Cameras here: " + (
        ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none in /dev/video*"
    )
    hint += ". Another program may hold it, or its user not be in the group video."
    # GStreamer comes first by default, and knows neither sizes nor V4L2's own errors.
    video4linux = cv2.videoio_registry.hasBackend(cv2.CAP_V4L2)
    backend = cv2.CAP_V4L2 if video4linux else cv2.CAP_ANY
    found = _Capture(cv2, device, backend, f"Camera {device}", hint)
    capture = found.capture
    # The driver's queue would hand out old frames.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if size is not None:
        if size[0] * size[1] > _UNCOMPRESSED:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    if fps is not None:
        capture.set(cv2.CAP_PROP_FPS, fps)
    return found


def open_pipeline(pipeline: str) -> Reader:
    """Open a GStreamer pipeline that ends in an appsink.

    Raises
    ------
    CaptureError
        GStreamer refuses the pipeline.
    UsageError
        It has no appsink.
    MissingDependencyError
        OpenCV is not installed, or was built without GStreamer.
    """
    cv2 = load_cv2("Cameras need")
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise MissingDependencyError(
            "This OpenCV was built without GStreamer, as all from PyPI are.",
            hint="Use the system's: apt install python3-opencv (on Jetson, JetPack's), make the "
            "environment with python -m venv --system-site-packages, and there "
            "pip uninstall opencv-python opencv-python-headless, which hide it.",
        )
    if "appsink" not in pipeline:
        raise UsageError(
            "The pipeline ends nowhere.",
            hint="End it in: ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true",
        )
    hint = "Try it with gst-launch-1.0, fakesink in the place of appsink."
    return _Capture(cv2, pipeline, cv2.CAP_GSTREAMER, "The pipeline", hint)


class _Capture:
    """A VideoCapture; frames are (H, W, 3) BGR whatever the camera gives."""

    def __init__(self, cv2: Any, what: int | str, backend: int, name: str, hint: str) -> None:
        self._quiet = contextlib.ExitStack()
        # For as long as it is open: OpenCV would complain on stderr at each stall.
        self._quiet.enter_context(_quiet(cv2))
        self.capture = cv2.VideoCapture(what, backend)
        if not self.capture.isOpened():
            self.close()
            raise CaptureError(f"{name} cannot be opened.", hint=hint)

    def read(self) -> tuple[Image, float | None] | None:
        good, image = self.capture.read()
        return (image, None) if good else None

    def close(self) -> None:
        self.capture.release()
        self._quiet.close()


@contextlib.contextmanager
def _quiet(cv2: Any) -> Iterator[None]:
    """Keep OpenCV's own view of every failure off stderr: ours is in the exception."""
    global _using, _level
    log = getattr(cv2.utils, "logging", cv2)  # OpenCV 4 has it in the open
    with _counting:
        if not _using:
            _level = log.setLogLevel(0)
        _using += 1
    try:
        yield
    finally:
        with _counting:
            _using -= 1
            if not _using:
                log.setLogLevel(_level)


def load_cv2(what: str) -> Any:
    """OpenCV, or MissingDependencyError that begins with ``what``: who needs it."""
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} OpenCV: {error}.",
            hint="Run: pip install 'fer-edge[camera]'",
        ) from error
