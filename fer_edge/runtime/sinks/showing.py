"""The loop that gives moments to sinks."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from fer_edge.errors import FerEdgeError, OutputError
from fer_edge.runtime.moment import Moment
from fer_edge.runtime.sinks.base import Sink


def show_moments(
    moments: Iterable[Moment],
    sinks: Sequence[Sink],
    *,
    stop: threading.Event,
    in_real_time: bool,
    failed: Callable[[Sink, FerEdgeError], object],
    needed: Sequence[Sink] = (),
) -> None:
    """Give every moment to every sink, until there are no more or ``stop`` is set.

    A sink that fails does not keep the others from what they show. It goes on being given moments,
    and what is wrong with it is told once, until it works again or fails otherwise.

    Parameters
    ----------
    in_real_time : bool
        Show recordings no faster than they were recorded.
    failed : callable
        Told of every failure.
    needed : sequence of Sink, optional
        Those without which there is no reason to go on, as one whose reader has closed the pipe:
        what they raise is raised.
    """
    started = time.monotonic()
    told: dict[int, str] = {}
    """What was last said of a sink that has failed since."""
    for moment in moments:
        if in_real_time and moment.frame.position is not None:
            stop.wait(max(started + moment.frame.position - time.monotonic(), 0))
        if stop.is_set():
            return
        for at, sink in enumerate(sinks):
            if sink in needed:
                sink.show(moment)
                continue
            trouble = _trouble(sink, moment)
            if trouble is not None and told.get(at) != str(trouble):
                failed(sink, trouble)
            if trouble is None:
                told.pop(at, None)
            else:
                told[at] = str(trouble)


def _trouble(sink: Sink, moment: Moment) -> FerEdgeError | None:
    """Show a moment; what was wrong with it."""
    try:
        sink.show(moment)
    except FerEdgeError as error:
        return error
    except OSError as error:
        what, hint = error.strerror or error, "Check what it writes to; the other outputs go on."
    except Exception as error:  # whoever wrote it, the others go on
        what, hint = repr(error), "The other outputs go on."
    else:
        return None
    return OutputError(f"{type(sink).__name__} failed: {what}.", hint=hint)
