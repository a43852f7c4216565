"""Moments as a video with their overlay."""

import contextlib
import importlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from fer_edge.errors import MissingDependencyError, UsageError
from fer_edge.files import atomic_path
from fer_edge.runtime.capture import Camera, Frame
from fer_edge.runtime.grid import fit
from fer_edge.runtime.meter import Meter
from fer_edge.runtime.moment import Moment
from fer_edge.runtime.overlay import draw_overlay

SUFFIXES = (".mp4", ".mkv", ".mov")
_TICKS = 90_000
"""Of a video's clock, a second."""
_IMAGES_PER_SECOND = 25
"""Of sources without a clock or a pace of their own."""


class Video:
    """Writes what each camera saw as H.264, with the times at which it was captured.

    A live source keeps no constant rate, least of all when frames are dropped, so each frame has a
    time of its own and the video lasts as long as what it shows. Frames that change their size are
    fitted into that of the first. A file appears when it is complete, on :meth:`close`; where no
    frame came, none does.

    Parameters
    ----------
    path : Path
        Ends in .mp4, .mkv or .mov. Several cameras have a file each, numbered in their order:
        ``out-1.mp4``, ``out-2.mp4``.
    cameras : sequence of Camera
        With different names.

    Raises
    ------
    MissingDependencyError
        PyAV is not installed.
    UsageError
        Another ending.
    """

    def __init__(self, path: Path, cameras: Sequence[Camera]) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(
                f"{path} is not a name for a video.", hint=f"End it in {', '.join(SUFFIXES)}."
            )
        av = _load_av()
        paths = [path]
        if len(cameras) > 1:
            paths = [path.with_stem(f"{path.stem}-{n}") for n in range(1, len(cameras) + 1)]
        self._files = {
            camera.name: _File(av, one, camera.live)
            for camera, one in zip(cameras, paths, strict=True)
        }

    @property
    def written(self) -> list[Path]:
        """Files that are complete."""
        return [file.path for file in self._files.values() if file.complete]

    def show(self, moment: Moment) -> None:
        """Add a frame; StorageError where the file cannot be written."""
        self._files[moment.frame.source].add(moment)

    def close(self) -> None:
        """Complete the files; StorageError where one cannot be written."""
        with contextlib.ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)


class _File:
    """The video of one camera."""

    def __init__(self, av: Any, path: Path, live: bool) -> None:
        self.path = path
        self.complete = False
        self._av = av
        self._live = live
        self._meter = Meter()
        self._place = contextlib.ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._start = 0.0
        self._ticks = -1

    def add(self, moment: Moment) -> None:
        self._meter.add(moment)
        image = draw_overlay(moment, fps=self._meter.fps)
        now = self._seconds(moment.frame)
        try:
            if self._container is None:
                self._start = now
                self._open(image.shape[1], image.shape[0])
            image = fit(image, self._stream.width, self._stream.height)
            picture = self._av.VideoFrame.from_ndarray(image, format="bgr24")
            self._ticks = max(round((now - self._start) * _TICKS), self._ticks + 1)
            picture.pts, picture.time_base = self._ticks, Fraction(1, _TICKS)
            self._container.mux(self._stream.encode(picture))
        except BaseException:
            self._container = None
            with self._place:  # where it is discarded
                raise

    def close(self) -> None:
        if self._container is None:
            return
        container, self._container = self._container, None
        with self._place:
            container.mux(self._stream.encode(None))
            container.close()
        self.complete = True

    def _open(self, width: int, height: int) -> None:
        temporary = self._place.enter_context(atomic_path(self.path))
        self._container = self._av.open(str(temporary), "w")
        self._stream = self._container.add_stream(
            "h264", options={"preset": "veryfast", "crf": "23"}
        )
        # Chroma has half the resolution.
        self._stream.width, self._stream.height = width - width % 2, height - height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)

    def _seconds(self, frame: Frame) -> float:
        if frame.position is not None:
            return frame.position
        return frame.captured if self._live else frame.index / _IMAGES_PER_SECOND


def _load_av() -> Any:
    # Where PyAV is loaded before OpenCV, OpenCV's windows hang (on Linux, in the wheels of both).
    with contextlib.suppress(ImportError):
        importlib.import_module("cv2")
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise MissingDependencyError(
            f"Recording needs PyAV: {error}.", hint="Run: pip install 'fer-edge[record]'"
        ) from error
