"""Moments as lines of JSON."""

from typing import TextIO

from fer_edge.runtime.moment import Moment


class JsonLines:
    """Writes :meth:`Moment.to_json` of each moment to a stream, which it leaves open."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, moment: Moment) -> None:
        print(moment.to_json(), file=self._stream, flush=True)

    def close(self) -> None: ...
