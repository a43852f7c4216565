"""Long recordings in spans that begin at key frames, so that several processes can share one."""

import bisect
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.runtime.capture.base import Image, Reader
from fer_edge.runtime.capture.video import Recording, open_container, open_file, picture, rate_of


@dataclass(frozen=True)
class Span:
    """Part of a recording: the frames shown from one key frame to before another."""

    begin: int | None = None
    """Time of its first frame in ticks of the stream; None for the recording's own beginning."""
    end: int | None = None
    """Time of the first frame after it; None for the recording's end."""
    first: int = 0
    """Frames of the recording before it."""
    origin: int = 0
    """Time of the recording's first frame, in ticks, from which positions count."""


WHOLE = Span()


def find_spans(path: Path, seconds: float) -> list[Span]:
    """Cut a recording at key frames into spans of ``seconds`` or a little more.

    Reads the whole file, and decodes nothing. A recording that is not longer than one and a half
    such spans is not read, and stays whole; so does one without times.

    Raises
    ------
    CaptureError, MissingDependencyError
        As :func:`fer_edge.runtime.capture.video.open_file`.
    """
    av, container, name = open_container(path)
    with container:
        # Says what is wrong where there is no video, or no codec for it.
        stream = Recording(av, container, name, threads=1).stream
        known = (container.duration or 0) / av.time_base
        if (known and known <= 1.5 * seconds) or not stream.time_base:
            return [WHOLE]
        times, keys = _packets(av, container, stream)
    if not times or not keys:
        return [WHOLE]
    step = seconds / float(stream.time_base)
    cuts = [times[0]]
    cuts += itertools.accumulate(
        keys, lambda last, key: key if key - last >= step else last, initial=times[0]
    )
    cuts = sorted(set(cuts))
    if len(cuts) > 1 and times[-1] - cuts[-1] < step / 2:
        cuts.pop()
    if len(cuts) == 1:
        return [WHOLE]
    bounds = [None, *cuts[1:], None]
    return [
        Span(begin, end, 0 if begin is None else bisect.bisect_left(times, begin), times[0])
        for begin, end in itertools.pairwise(bounds)
    ]


def open_span(path: Path, span: Span, threads: int = 0) -> Reader:
    """Open a span as a recording of its own, whose positions are those in the whole.

    Frames are the same as those of the whole recording. Where the container does not find the key
    frame, all before it is decoded, too.

    Raises
    ------
    CaptureError, MissingDependencyError
        As :func:`fer_edge.runtime.capture.video.open_file`.
    """
    if span == WHOLE:
        return open_file(path, threads=threads)
    return _SpanReader(path, span, threads)


def _packets(av: Any, container: Any, stream: Any) -> tuple[list[int], list[int]]:
    """Times of all frames, and of the key frames, sorted; both empty where one has no time."""
    times, keys = [], []
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):  # what can be read of a damaged one
            break
        if not packet.size or packet.is_discard:
            continue
        if packet.pts is None:
            return [], []
        times.append(packet.pts)
        if packet.is_keyframe:
            keys.append(packet.pts)
    return sorted(times), sorted(keys)


class _Part(Recording):
    """The frames of a span. Of what lies around it nothing is missed, and no damage counts."""

    def __init__(
        self, opened: tuple[Any, Any, str], span: Span, threads: int, *, seek: bool
    ) -> None:
        super().__init__(*opened, threads=threads)
        self._span = span
        self._start = float(span.origin * self.stream.time_base)
        self._decoder.matters = self._holds
        self._over = False
        if seek and span.begin is not None:
            opened[1].seek(span.begin, stream=self.stream)
        self.found = span.begin is None
        """Whether the frame that the span begins with was read."""

    def _holds(self, packet: Any) -> bool:
        begin, end = self._span.begin, self._span.end
        return packet.pts is not None and (
            (begin is None or packet.pts >= begin) and (end is None or packet.pts < end)
        )

    def read(self) -> tuple[Image, float | None] | None:
        # Pictures that are shown before a key frame may come after it: they belong to the span
        # before, which therefore reads on until a frame of the next is shown.
        for frame in () if self._over else self._decoder.frames:
            if frame.pts is None or (self._span.begin is not None and frame.pts < self._span.begin):
                continue
            if self._span.end is not None and frame.pts >= self._span.end:
                self._over = True
                break
            self.found = self.found or frame.pts == self._span.begin
            position = self._position(frame)
            self._count += 1
            return picture(frame), position
        self._check()
        return None

    def _is_cut(self, stream: Any) -> bool:
        if self._span.end is None:
            return self._ends_early(1 / (rate_of(stream) or 25.0))
        return not self._over


class _SpanReader:
    """A part that is read from the recording's beginning where the container misses its own."""

    def __init__(self, path: Path, span: Span, threads: int) -> None:
        self._path = path
        self._span = span
        self._threads = threads
        self._part = self._open(seek=True)
        self._begun = False

    def _open(self, *, seek: bool) -> _Part:
        return _Part(open_container(self._path), self._span, self._threads, seek=seek)

    @property
    def rate(self) -> float | None:
        return self._part.rate

    def read(self) -> tuple[Image, float | None] | None:
        if self._begun:
            return self._part.read()
        self._begun = True
        failure: Exception | None = None
        found = None
        try:
            found = self._part.read()
        except Exception as error:
            failure = error
        if self._part.found:
            if failure is not None:
                raise failure
            return found
        self._part.close()
        self._part = self._open(seek=False)
        return self._part.read()

    def close(self) -> None:
        self._part.close()
