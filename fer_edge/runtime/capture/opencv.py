"""Cameras, streams, pipelines and recordings through OpenCV."""

import contextlib
import importlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fer_edge.errors import CaptureError, MissingDependencyError, UsageError
from fer_edge.runtime.capture.base import Image, Reader

_UNCOMPRESSED = 640 * 480
"""Pixels that USB 2 carries 30 times a second as they are."""
OPEN_SECONDS = 10.0
"""How long a stream may take to open before that counts as failed."""
READ_SECONDS = 5.0
"""How long a stream may be silent before it counts as lost."""

_WHOLE = 0.9
"""Share of its length from which on a recording counts as read to its end."""

# OpenCV has one level for all threads that are opening something.
_counting = threading.Lock()
_opening = 0
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
    cv2 = load_cv2("Cameras and videos need")
    hint = "Cameras here: " + (
        ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none in /dev/video*"
    )
    hint += ". Another program may hold it, or its user not be in the group video."
    # GStreamer comes first by default, and knows neither sizes nor V4L2's own errors.
    video4linux = cv2.videoio_registry.hasBackend(cv2.CAP_V4L2)
    backend = cv2.CAP_V4L2 if video4linux else cv2.CAP_ANY
    capture = _opened(cv2, device, backend, [], f"Camera {device}", hint)
    # The driver's queue would hand out old frames.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if size is not None:
        if size[0] * size[1] > _UNCOMPRESSED:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    if fps is not None:
        capture.set(cv2.CAP_PROP_FPS, fps)
    return _Capture(cv2, capture)


def open_stream(address: str, name: str) -> Reader:
    """Open a network stream (RTSP, HTTP, ...); messages call it ``name``.

    Raises
    ------
    CaptureError
        Nothing answers there within 10 s, or what does is no video.
    MissingDependencyError
        OpenCV is not installed.
    """
    cv2 = load_cv2("Cameras and videos need")
    limits = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(1e3 * OPEN_SECONDS),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        round(1e3 * READ_SECONDS),
    ]
    capture = _opened(
        cv2,
        address,
        cv2.CAP_FFMPEG,
        limits,
        name,
        "Try the address in a player; check user, password and network.",
    )
    return _Capture(cv2, capture)


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
    cv2 = load_cv2("Cameras and videos need")
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
    capture = _opened(cv2, pipeline, cv2.CAP_GSTREAMER, [], "The pipeline", hint)
    return _Capture(cv2, capture)


def open_file(path: Path) -> Reader:
    """Open a recording.

    Raises
    ------
    CaptureError
        OpenCV cannot read it.
    MissingDependencyError
        OpenCV is not installed.
    """
    cv2 = load_cv2("Cameras and videos need")
    hint = "Is it a video? MP4, MKV, AVI, MOV and WebM are read."
    capture = _opened(cv2, str(path), cv2.CAP_ANY, [], str(path), hint)
    return _Recording(cv2, capture, path)


class _Capture:
    """A VideoCapture; frames are (H, W, 3) BGR whatever the camera gives."""

    def __init__(self, cv2: Any, capture: Any) -> None:
        self._cv2 = cv2
        self._capture = capture

    def read(self) -> tuple[Image, float | None] | None:
        good, image = self._capture.read()
        return (image, None) if good else None

    def close(self) -> None:
        self._capture.release()


class _Recording(_Capture):
    """Of a file. The number of its frames is an estimate where they differ in length."""

    def __init__(self, cv2: Any, capture: Any, path: Path) -> None:
        super().__init__(cv2, capture)
        self._path = path
        count, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
        self.length = int(count) if count > 0 else None
        self._seconds = count / rate if count > 0 and rate > 0 else 0.0
        self._count = 0
        self._position = 0.0

    def read(self) -> tuple[Image, float | None] | None:
        found = super().read()
        if found is not None:
            self._count += 1
            self._position = self._capture.get(self._cv2.CAP_PROP_POS_MSEC) / 1e3
            return found[0], self._position
        if self._position < _WHOLE * self._seconds and self._count < _WHOLE * (self.length or 0):
            raise CaptureError(
                f"{self._path} breaks off after {self._position:.1f} of {self._seconds:.1f} s.",
                hint="Is the file whole?",
            )
        return None


def _opened(
    cv2: Any, what: int | str, backend: int, options: list[int], name: str, hint: str
) -> Any:
    # FFmpeg, which reads this once, would report every failed attempt to reconnect on stderr.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    with _quiet(cv2):
        capture = cv2.VideoCapture(what, backend, options)
    if not capture.isOpened():
        capture.release()
        raise CaptureError(f"{name} cannot be opened.", hint=hint)
    return capture


@contextlib.contextmanager
def _quiet(cv2: Any) -> Iterator[None]:
    """Keep OpenCV's own view of every failure off stderr: ours is in the exception."""
    global _opening, _level
    log = getattr(cv2.utils, "logging", cv2)  # OpenCV 4 has it in the open
    with _counting:
        if not _opening:
            _level = log.setLogLevel(0)
        _opening += 1
    try:
        yield
    finally:
        with _counting:
            _opening -= 1
            if not _opening:
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
