"""Moments as a video with their overlay."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from fer_edge.errors import RecordingStoppedError, UsageError
from fer_edge.files import check_apart, storage_errors
from fer_edge.runtime.av_library import load_av
from fer_edge.runtime.capture import Camera, Frame
from fer_edge.runtime.grid import fit
from fer_edge.runtime.meter import Meter
from fer_edge.runtime.moment import Moment
from fer_edge.runtime.overlay import draw_overlay

_FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
SUFFIXES = tuple(_FORMATS)
_TICKS = 90_000
"""Of a video's clock, a second."""
_IMAGES_PER_SECOND = 25
"""Of sources without a clock or a pace of their own."""
_FRAGMENT = 0.25
"""Seconds of video that a kill or a full disk may cost, beside a frame or two."""
_OPTIONS = {
    # In fragments while it is written; once complete, an index like any other's (FFmpeg 7.1).
    ".mp4": {
        "movflags": "hybrid_fragmented",
        "frag_duration": str(round(1e6 * _FRAGMENT)),
        "flush_packets": "1",
    },
    ".mkv": {"cluster_time_limit": str(round(1e3 * _FRAGMENT)), "flush_packets": "1"},
}
_OPTIONS[".mov"] = _OPTIONS[".mp4"]


class Video:
    """Writes what each camera saw as H.264, with the times at which it was captured.

    A live source keeps no constant rate, least of all when frames are dropped, so each frame has a
    time of its own and the video lasts as long as what it shows. Frames that change their size are
    scaled into that of the first, with black around them. A file begins with its first frame, in
    the place of one that was there, and plays at any time, within half a second of what was shown
    last, whatever ends the program; :meth:`close` completes it.

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
        Another ending, or a file that one of the cameras reads.
    """

    def __init__(self, path: Path, cameras: Sequence[Camera]) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(
                f"{path} is not a name for a video.", hint=f"End it in {', '.join(SUFFIXES)}."
            )
        av = load_av("Recording needs")
        paths = [path]
        if len(cameras) > 1:
            paths = [path.with_stem(f"{path.stem}-{n}") for n in range(1, len(cameras) + 1)]
        read = [file for camera in cameras for file in camera.files]
        for one in paths:
            check_apart(one, read)
        self._files = {
            camera.name: _File(av, one, camera.live)
            for camera, one in zip(cameras, paths, strict=True)
        }

    @property
    def written(self) -> list[Path]:
        """Files that are complete."""
        return [file.path for file in self._files.values() if file.complete]

    @property
    def stopped(self) -> bool:
        """Whether none of the files can be written any more."""
        return all(file.stopped for file in self._files.values())

    def show(self, moment: Moment) -> None:
        """Add a frame; a file that has stopped takes no more.

        Raises
        ------
        RecordingStoppedError
            Once for a file that cannot be written on; what it has is kept.
        StorageError
            The file cannot be begun.
        """
        self._files[moment.frame.source].add(moment)

    def close(self) -> None:
        """Complete the files; RecordingStoppedError where one cannot be."""
        with contextlib.ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.close)


class _File:
    """The video of one camera."""

    def __init__(self, av: Any, path: Path, live: bool) -> None:
        self.path = path
        self.complete = False
        self.stopped = False
        self._av = av
        self._live = live
        self._meter = Meter()
        self._container: Any = None
        self._stream: Any = None
        self._start = 0.0
        self._ticks = -1
        self._whole = 0
        """Bytes of the file that end in a whole fragment."""

    def add(self, moment: Moment) -> None:
        if self.stopped:
            return
        self._meter.add(moment)
        image = draw_overlay(moment, fps=self._meter.fps)
        now = self._seconds(moment.frame)
        if self._container is None:
            self._start = now
            self._open(image.shape[1], image.shape[0])
        image = fit(image, self._stream.width, self._stream.height)
        picture = self._av.VideoFrame.from_ndarray(image, format="bgr24")
        self._ticks = max(round((now - self._start) * _TICKS), self._ticks + 1)
        picture.pts, picture.time_base = self._ticks, Fraction(1, _TICKS)
        with self._kept():
            self._container.mux(self._stream.encode(picture))
            self._whole = self.path.stat().st_size

    def close(self) -> None:
        if self._container is None or self.stopped:
            return
        with self._kept():
            self._container.mux(self._stream.encode(None))
            self._container.close()
        self._container = None
        self.complete = True

    def _open(self, width: int, height: int) -> None:
        path = self.path
        try:
            with storage_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                # A name is no address, whatever it begins with.
                self._container = self._av.open(
                    f"file:{path}",
                    "w",
                    format=_FORMATS[path.suffix.lower()],
                    options=_OPTIONS[path.suffix.lower()],
                )
                # Without looking ahead, so that a frame is in the file soon after it was shown.
                self._stream = self._container.add_stream(
                    "h264", options={"preset": "veryfast", "crf": "23", "tune": "zerolatency"}
                )
                # Chroma has half the resolution.
                self._stream.width, self._stream.height = width - width % 2, height - height % 2
                self._stream.pix_fmt = "yuv420p"
                self._stream.codec_context.time_base = Fraction(1, _TICKS)
        except BaseException:
            self.stopped = True
            raise

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Where writing fails, leave the file as far as it was written."""
        try:
            yield
        except OSError as error:
            self.stopped = True
            with contextlib.suppress(OSError):
                self._container.close()
            with contextlib.suppress(OSError):
                os.truncate(self.path, self._whole)
            reason = error.strerror or error
            raise RecordingStoppedError(
                f"Recording to {self.path} stopped after {self._ticks / _TICKS:,.1f} s: {reason}. "
                "What was written until then is kept, and plays.",
                hint="Free some space or choose another place.",
            ) from error

    def _seconds(self, frame: Frame) -> float:
        if frame.position is not None:
            return frame.position
        return frame.captured if self._live else frame.index / _IMAGES_PER_SECOND
