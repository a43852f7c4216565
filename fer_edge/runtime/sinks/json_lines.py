"""Moments as lines of JSON."""

import io
import os
import select
import threading
from typing import Final, TextIO

from fer_edge.runtime.moment import Moment

_TURN: Final = 0.5
"""Seconds between two looks at whether a reader that takes nothing is worth waiting for."""


class JsonLines:
    """Writes :meth:`Moment.to_json` of each moment to a stream, which it leaves open.

    Parameters
    ----------
    stream : text file object
    stop : threading.Event, optional
        Once it is set, a reader of a pipe that takes nothing is not waited for; the line that it
        has not taken is left where it is. Without effect on Windows, and on streams in memory.
    """

    def __init__(self, stream: TextIO, stop: threading.Event | None = None) -> None:
        self._stream = stream
        self._stop = stop
        self._descriptor = None if stop is None else _descriptor(stream)

    def show(self, moment: Moment) -> None:
        line = moment.to_json()
        if self._descriptor is None or self._stop is None:
            print(line, file=self._stream, flush=True)
        else:
            self._stream.flush()
            text = f"{line}\n".encode(self._stream.encoding, self._stream.errors or "strict")
            _write(self._descriptor, text, self._stop)

    def close(self) -> None: ...


def _descriptor(stream: TextIO) -> int | None:
    """What the bytes of the stream go to as they are, where it can be waited for."""
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # Python's option -u leaves out the buffer
    return raw.fileno() if os.name == "posix" and isinstance(raw, io.FileIO) else None


def _write(descriptor: int, data: bytes, stop: threading.Event) -> None:
    while data:
        if select.select([], [descriptor], [], _TURN)[1]:
            # As much as a pipe takes at once when it takes anything: more would block.
            data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]
        elif stop.is_set():
            return
