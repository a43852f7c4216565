"""The loop that gives moments to sinks."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from fer_edge.errors import FerEdgeError
from fer_edge.runtime.moment import Moment
from fer_edge.runtime.sinks.base import Sink


def show_moments(
    moments: Iterable[Moment],
    sinks: Sequence[Sink],
    *,
    stop: threading.Event,
    in_real_time: bool,
    failed: Callable[[Sink, FerEdgeError], object],
) -> None:
    """Give every moment to every sink, until there are no more or ``stop`` is set.

    A sink that fails does not keep the others from what they show.

    Parameters
    ----------
    in_real_time : bool
        Show recordings no faster than they were recorded.
    failed : callable
        Told of every failure.
    """
    started = time.monotonic()
    for moment in moments:
        if in_real_time and moment.frame.position is not None:
            stop.wait(max(started + moment.frame.position - time.monotonic(), 0))
        if stop.is_set():
            return
        for sink in sinks:
            try:
                sink.show(moment)
            except FerEdgeError as error:  # noqa: PERF203, one fails and the next goes on
                failed(sink, error)
