"""Which kind of source a word, number or object means."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from fer_edge.errors import CaptureError, UsageError
from fer_edge.files import shown
from fer_edge.runtime.capture.address import split_address, without_password
from fer_edge.runtime.capture.base import Image, Source
from fer_edge.runtime.capture.folder import FolderReader, list_images
from fer_edge.runtime.capture.gstreamer import csi_pipeline, is_pipeline
from fer_edge.runtime.capture.opencv import open_device, open_pipeline
from fer_edge.runtime.capture.video import open_file, open_stream

_STREAMS = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp")
_KINDS = "Give a camera's number, an address, a path or an iterable of uint8 arrays."


def find_source(
    what: int | str | Path | Source | Iterable[Image | tuple[Image, float]],
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
) -> Source:
    """Tell from what it looks like how a source is opened. Nothing is opened yet.

    ======================================  ==========================================
    ``0``, ``"0"``, ``"/dev/video0"``       camera
    ``"rtsp://..."``, ``"http://..."``      network stream
    ``"csi://0?width=1280&height=720"``     CSI camera of a Jetson
    ``"videotestsrc ! ... ! appsink"``      GStreamer pipeline
    path of a file                          recording
    path of a folder                        its images: 1, 2, …, 10, 11
    iterable of uint8 arrays                what a program makes
    iterable of pairs (array, seconds)      the same, with positions in a recording
    ======================================  ==========================================

    Arrays are (H, W, 3), BGR, or (H, W), gray. Those that come live are put into a
    :class:`fer_edge.runtime.Feed`.

    Parameters
    ----------
    what
        One of the above.
    size : (int, int), optional
        Width and height to ask a camera for. It gives the nearest that it has.
    fps : float, optional
        Rate to ask a camera for; of a recording, a folder or an iterable, the rate at which its
        images were taken, whatever times a recording has.

    Raises
    ------
    CaptureError
        No such file, or a folder without images.
    UsageError
        Nothing of the above; or a size or a rate for what has its own.
    """
    if size is not None and not (len(size) == 2 and min(size) > 0):
        raise UsageError(f"There is no size {size}.", hint="Give a width and a height.")
    if fps is not None and not fps > 0:
        raise UsageError(f"fps must be above 0, got {fps}.")
    if isinstance(what, Source):
        _refuse(what.name, size=size, fps=fps)
        return what
    if isinstance(what, bool) or (isinstance(what, int | np.integer) and what < 0):
        raise UsageError(f"There is no camera {what}.", hint="Cameras count from 0.")
    if isinstance(what, int | np.integer):
        device = int(what)
        return Source(f"camera {device}", True, lambda: open_device(device, size, fps))
    if isinstance(what, str | os.PathLike):
        return _named(os.fspath(what), size, fps, is_path=isinstance(what, os.PathLike))
    if isinstance(what, np.ndarray) and (what.ndim < 3 or (what.ndim == 3 and what.shape[2] <= 4)):
        raise UsageError("One array is one image.", hint="Give several: [image].")
    if isinstance(what, Iterable) and not hasattr(what, "decode"):  # bytes are iterable too
        _refuse("An iterable", size=size)
        frames = iter(what)
        return Source("frames", False, lambda: _Frames(frames, fps))
    raise UsageError(f"{type(what).__name__} is no source of images.", hint=_KINDS)


def _named(text: str, size: tuple[int, int] | None, fps: float | None, *, is_path: bool) -> Source:
    if not text:
        raise UsageError("An empty text is no source of images.", hint=_KINDS)
    # What is there as a file is meant, whatever its name looks like.
    file = Path(text).is_file() or Path(text).is_dir()
    if text.isdecimal() and not is_path and file and Path(f"/dev/video{text}").exists():
        raise UsageError(
            f"{text} is a camera, and a file, too.", hint=f"Say /dev/video{text} or ./{text}."
        )
    if text.isdecimal() and not file:
        return find_source(int(text), size=size, fps=fps)
    scheme, separator, _ = text.partition("://")
    if not (file or is_path) and (is_pipeline(text) or (separator and scheme != "file")):
        source = _address(text, scheme)
        _refuse(source.name, size=size, fps=fps)
        return source
    path = Path(os.path.expanduser(text.removeprefix("file://")))  # noqa: PTH111, ~nobody is a name
    if path.is_relative_to("/dev") or path.is_char_device():
        return Source(shown(str(path)), True, lambda: open_device(str(path), size, fps))
    _refuse(str(path), size=size)
    if path.is_dir():
        images, skipped = list_images(path)
        return Source(shown(str(path)), False, lambda: FolderReader(images, fps), skipped, images)
    if not path.is_file():
        raise CaptureError(
            f"There is no file {path}.",
            hint="Give a camera's number, an address, a recording or a folder of images.",
        )
    return Source(shown(str(path)), False, lambda: open_file(path, fps), files=(path,))


def _address(text: str, scheme: str) -> Source:
    if is_pipeline(text):
        # Any of its properties may be a password.
        return Source(f"{text.split()[0]} pipeline", True, lambda: open_pipeline(text))
    if scheme == "csi":
        pipeline = csi_pipeline(text)
        return Source(text, True, lambda: open_pipeline(pipeline))
    name = without_password(text)
    if scheme in _STREAMS:
        split_address(text)
        return Source(name, True, lambda: open_stream(text, name))
    raise UsageError(
        f"{name}: {scheme}:// is no address that can be opened.",
        hint=f"Known are {', '.join(f'{known}://' for known in (*_STREAMS, 'csi', 'file'))}.",
    )


def _refuse(name: str, *, size: tuple[int, int] | None = None, fps: float | None = None) -> None:
    if size is not None or fps is not None:
        raise UsageError(
            f"{name} has a {'rate' if size is None else 'size'} of its own.",
            hint="A size is for cameras, fps for cameras, recordings, folders and iterables; "
            "csi://0?width=1280&height=720&fps=30 has them in its address.",
        )


class _Frames:
    """Images of an iterator, with or without their times."""

    def __init__(
        self,
        frames: Iterator[Image | tuple[Image, float]],
        fps: float | None,
    ) -> None:
        self._frames = frames
        self._fps = fps
        self._count = 0

    def read(self) -> tuple[Image, float | None] | None:
        try:
            found = next(self._frames)
        except StopIteration:
            return None
        if isinstance(found, tuple) and len(found) == 2:
            return found
        position = None if self._fps is None else self._count / self._fps
        self._count += 1
        return found, position

    def close(self) -> None:
        close = getattr(self._frames, "close", None)
        if close is not None:
            close()
