"""Which kind of source a word, number or object means."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from fer_edge.errors import CaptureError, UsageError
from fer_edge.runtime.capture.base import Image, Source
from fer_edge.runtime.capture.gstreamer import csi_pipeline, is_pipeline
from fer_edge.runtime.capture.opencv import open_device, open_file, open_pipeline, open_stream
from fer_edge.runtime.preprocess import read_image

_STREAMS = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp")
_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def find_source(what: int | str | Path | Source | Iterable[Image]) -> Source:
    """Tell from what it looks like how a source is opened. Nothing is opened yet.

    ======================================  ==========================================
    ``0``, ``"0"``, ``"/dev/video0"``       camera
    ``"rtsp://..."``, ``"http://..."``      network stream
    ``"csi://0?width=1280&height=720"``     CSI camera of a Jetson
    ``"videotestsrc ! ... ! appsink"``      GStreamer pipeline
    path of a file                          recording
    path of a folder                        its images, in order of their names
    iterable of uint8 arrays                what a program makes
    ======================================  ==========================================

    Raises
    ------
    CaptureError
        No such file, or a folder without images.
    UsageError
        Nothing of the above.
    """
    if isinstance(what, Source):
        return what
    if isinstance(what, bool) or (isinstance(what, int) and what < 0):
        raise UsageError(f"There is no camera {what}.", hint="Cameras count from 0.")
    if isinstance(what, int):
        return Source(f"camera {what}", True, lambda: open_device(what))
    if isinstance(what, str | os.PathLike):
        return _named(os.fspath(what))
    if isinstance(what, Iterable):
        frames = iter(what)
        return Source("frames", False, lambda: _Frames(frames))
    raise UsageError(
        f"{type(what).__name__} is no source of images.",
        hint="Give a camera's number, an address, a path or an iterable of uint8 arrays.",
    )


def _named(text: str) -> Source:
    if text.isdecimal():
        return find_source(int(text))
    if is_pipeline(text):
        return Source(text, True, lambda: open_pipeline(text))
    scheme, separator, _ = text.partition("://")
    if separator and scheme == "csi":
        pipeline = csi_pipeline(text)
        return Source(text, True, lambda: open_pipeline(pipeline))
    if separator and scheme in _STREAMS:
        shown = without_password(text)
        return Source(shown, True, lambda: open_stream(text, shown))
    if separator and scheme != "file":
        raise UsageError(
            f"{without_password(text)}: {scheme}:// is no address that can be opened.",
            hint=f"Known are {', '.join(f'{name}://' for name in (*_STREAMS, 'csi', 'file'))}.",
        )
    path = Path(text.removeprefix("file://"))
    if path.is_char_device():
        return Source(text, True, lambda: open_device(str(path)))
    if path.is_dir():
        images = sorted(one for one in path.iterdir() if one.suffix.lower() in _IMAGES)
        if not images:
            raise CaptureError(
                f"{path} has no images.", hint=f"Images end in {', '.join(_IMAGES)}."
            )
        return Source(str(path), False, lambda: _Frames(_read(images), len(images)))
    if not path.is_file():
        raise CaptureError(
            f"There is no file {path}.",
            hint="Give a camera's number, an address, a recording or a folder of images.",
        )
    return Source(str(path), False, lambda: open_file(path))


def without_password(address: str) -> str:
    """The address as it may be shown."""
    parts = urlsplit(address)
    user, separator, host = parts.netloc.rpartition("@")
    if not separator:
        return address
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{host}"))


def _read(paths: list[Path]) -> Iterator[Image]:
    for path in paths:
        yield np.ascontiguousarray(read_image(path)[..., ::-1])


class _Frames:
    """Images of an iterator."""

    def __init__(self, frames: Iterator[Image], length: int | None = None) -> None:
        self._frames = frames
        self.length = length

    def read(self) -> tuple[Image, float | None] | None:
        image = next(self._frames, None)
        return None if image is None else (image, None)

    def close(self) -> None:
        close = getattr(self._frames, "close", None)
        if close is not None:
            close()
