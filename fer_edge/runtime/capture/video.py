"""Recordings and network streams through PyAV (FFmpeg)."""

import math
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.errors import BrokenOffError, CaptureError
from fer_edge.runtime.av_library import load_av
from fer_edge.runtime.capture.base import Image, Reader

OPEN_SECONDS = 10.0
"""How long a stream may take to open before that counts as failed."""
READ_SECONDS = 5.0
"""How long a stream may be without a picture before it counts as lost."""
_LIVE_THREADS = 4
"""Of a stream's decoder: each but the first delays it by a frame."""
_WITHOUT_TIMES = 0x80
"""FFmpeg's AVFMT_NOTIMESTAMPS."""
_HIGHEST_RATE = 1000.0
_MISSING_SECONDS, _MISSING_FRAMES = 0.25, 3.0
"""At the end of a recording; less is how its length was rounded."""


def open_file(path: Path, fps: float | None = None, threads: int = 0) -> Reader:
    """Open a recording; with ``fps`` its frames have that rate, whatever times they have.

    ``threads`` are the decoder's; 0 for as many as there are cores.

    Raises
    ------
    CaptureError
        It is no video, or its codec cannot be decoded.
    MissingDependencyError
        PyAV is not installed.
    """
    return Recording(*open_container(path), fps, threads)


def open_container(path: Path) -> tuple[Any, Any, str]:
    """PyAV, the container of a file, and its name; raises as :func:`open_file` does."""
    av = load_av("Videos need")
    # What a name begins with is no protocol: a file may be called a:b.mp4.
    hint = "Is it a video, and whole? MP4, MKV, AVI, MOV, WebM, TS, raw H.264 and H.265 are read."
    return av, _opened(av, f"file:{path}", str(path), hint), str(path)


def open_stream(address: str, name: str) -> Reader:
    """Open a network stream (RTSP, HTTP, ...); messages call it ``name``.

    Raises
    ------
    CaptureError
        Nothing answers there within 10 s, or what does is no video that can be decoded.
    MissingDependencyError
        PyAV is not installed.
    """
    av = load_av("Streams need")
    hint = "Try the address in a player; check user, password and network."
    options = {"rtsp_flags": "prefer_tcp"} if address.startswith("rtsp") else {}
    container = _opened(
        av, address, name, hint, options=options, timeout=(OPEN_SECONDS, READ_SECONDS)
    )
    return _Stream(av, container, name)


def _opened(av: Any, what: str, name: str, hint: str, **options: Any) -> Any:
    try:
        return av.open(what, metadata_errors="replace", **options)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CaptureError(f"{name} cannot be opened: {reason}.", hint=hint) from error


class _Decoder:
    """The pictures of a container's first video, (H, W, 3) BGR, each in its own size."""

    def __init__(
        self, av: Any, container: Any, name: str, threads: int = 0, patience: float = math.inf
    ) -> None:
        self._av = av
        self._patience = patience
        self._container = container
        self.name = name
        if not container.streams.video:
            container.close()
            raise CaptureError(f"{name} has no video in it.", hint="Is it sound alone?")
        self.stream = container.streams.video[0]
        codec = self.stream.codec_context
        if codec is None:
            container.close()
            raise CaptureError(
                f"{name} is in a codec that this PyAV cannot decode (FFmpeg "
                f"{av.ffmpeg_version_info}).",
                hint=_CONVERT,
            )
        codec.thread_type = "AUTO"
        if threads:
            codec.thread_count = threads
        self.codec = codec.name
        self.packets = 0
        self.damaged = 0
        self.failure: Exception | None = None
        """What was wrong with the first damaged packet, or with the container."""
        self.matters: Callable[[Any], bool] = lambda _: True
        """Whether it counts that a packet cannot be decoded."""
        self.end = -math.inf
        """When the last packet of picture or sound ends, in seconds."""
        self.frames = self._frames()

    def close(self) -> None:
        self.frames.close()
        self._container.close()

    def _frames(self) -> Generator[Any, None, None]:
        wanted = [one for one in self._container.streams if one.type in ("video", "audio")]
        packets = self._container.demux(*wanted)
        since = time.monotonic()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except self._av.FFmpegError as error:
                self.failure = self.failure or error
                if isinstance(error, self._av.error.ExitError):
                    return
                yield from self._decoded(None)  # what the decoder still holds
                return
            if packet.pts is not None and packet.size:
                ends = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self.end = max(self.end, ends)
            if packet.stream_index == self.stream.index:
                self.packets += packet.size > 0
                for frame in self._decoded(packet):
                    yield frame
                    since = time.monotonic()
            if time.monotonic() - since > self._patience:
                raise CaptureError(
                    f"{self.name} sends nothing that can be decoded: {_said(self.failure)}."
                )

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            return self.stream.codec_context.decode(packet)
        except self._av.error.EOFError:
            return []
        except self._av.FFmpegError as error:
            if packet is None or self.matters(packet):
                self.damaged += 1
                self.failure = self.failure or error
            return []


class _Stream:
    """A live stream. Pictures that cannot be decoded are passed over."""

    def __init__(self, av: Any, container: Any, name: str) -> None:
        self._decoder = _Decoder(av, container, name, _LIVE_THREADS, READ_SECONDS)

    def read(self) -> tuple[Image, float | None] | None:
        for frame in self._decoder.frames:
            return picture(frame), None
        return None

    def close(self) -> None:
        self._decoder.close()


class Recording:
    """Of a file. The number of its frames is an estimate where they differ in length."""

    def __init__(
        self, av: Any, container: Any, name: str, fps: float | None = None, threads: int = 0
    ) -> None:
        self._decoder = _Decoder(av, container, name, threads)
        stream = self.stream = self._decoder.stream
        self._begin = (container.start_time or 0) / av.time_base
        self.rate = fps or rate_of(stream)
        self._fps = fps
        self._timeless = bool(container.format.flags & _WITHOUT_TIMES)
        self._promised = self._seconds = (container.duration or 0) / av.time_base
        if stream.frames and stream.average_rate:
            # The duration of an AVI is that of the bytes which are there, the count its header's.
            self._seconds = max(self._seconds, float(stream.frames / stream.average_rate))
        count = stream.frames or round(self._seconds * (rate_of(stream) or 0))
        self.length: int | None = count if count > 0 else None
        self._start: float | None = None
        self._last = 0.0
        self._count = 0

    def read(self) -> tuple[Image, float | None] | None:
        for frame in self._decoder.frames:
            position = self._position(frame)
            self._count += 1
            return picture(frame), position
        self._check()
        return None

    def close(self) -> None:
        self._decoder.close()

    def _position(self, frame: Any) -> float | None:
        if self._fps is not None:
            return self._count / self._fps
        if self._timeless or frame.pts is None:
            return None
        if self._start is None:
            self._start = frame.time
        self._last = frame.time + float((frame.duration or 0) * frame.time_base)
        return frame.time - self._start

    def _check(self) -> None:
        """Raise why what was read is not all."""
        decoder, stream = self._decoder, self._decoder.stream
        if not self._count:
            reason = decoder.failure or "it holds none"
            raise BrokenOffError(
                f"{decoder.name}: no frame could be decoded ({decoder.codec}: {_said(reason)}).",
                hint="Try it in a player." if decoder.failure is None else _CONVERT,
            )
        read = f"{self._count:,} frames"
        if not self._timeless and self._start is not None:
            read = f"{self._last - self._start:,.1f} of {self._seconds:,.1f} s"
        if self._is_cut(stream):
            raise BrokenOffError(f"{decoder.name} breaks off after {read}.", hint="Is it whole?")
        if decoder.damaged:
            raise BrokenOffError(
                f"{decoder.name} is damaged: {decoder.damaged:,} of its {decoder.packets:,} "
                f"packets cannot be decoded ({_said(decoder.failure)}), and their frames are "
                "missing.",
                hint="Copy it again.",
            )
        if decoder.failure is not None:
            raise BrokenOffError(
                f"{decoder.name} breaks off after {read}: {_said(decoder.failure)}.",
                hint="Is it whole?",
            )

    def _is_cut(self, stream: Any) -> bool:
        if self._start is None or not self._seconds:
            return False
        interval = 1 / (rate_of(stream) or 25.0)
        if stream.frames and self._decoder.packets < stream.frames:
            promised = float(stream.frames / (stream.average_rate or _HIGHEST_RATE))
            if self._last - self._start < promised - 1.5 * interval:
                return True
        return self._ends_early(interval)

    def _ends_early(self, interval: float) -> bool:
        """Whether picture and sound end before the container says, by more than it rounds."""
        missing = self._begin + self._promised - self._decoder.end
        return missing > max(_MISSING_SECONDS, _MISSING_FRAMES * interval)


_CONVERT = (
    "PyAV from PyPI decodes most codecs, AV1 by dav1d among them: pip install --upgrade av. "
    "Or convert it: ffmpeg -i IN -c:v libx264 OUT.mp4"
)


def _said(error: object) -> str:
    return getattr(error, "strerror", None) or str(error)


def rate_of(stream: Any) -> float | None:
    """Frames a second: what the codec says, which raw streams have too, or else the container."""
    for found in (
        stream.codec_context.framerate,
        stream.guessed_rate,
        stream.average_rate,
    ):
        if found and 0 < found <= _HIGHEST_RATE:
            return float(found)
    return None


def picture(frame: Any) -> Image:
    """The pixels of a decoded frame, turned as its metadata asks for; uint8 (H, W, 3), BGR."""
    image = _convert(frame)
    turns = round((frame.rotation or 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _convert(frame: Any) -> Image:
    try:
        # The scaler's threads cost more than they gain, and decoding takes the other cores.
        return frame.to_ndarray(format="bgr24", threads=1)
    except TypeError:  # an older PyAV, whose scaler has no threads
        return frame.to_ndarray(format="bgr24")
