import errno
import threading
import time
from collections.abc import Iterator

import pytest

from fer_edge.errors import OutputError
from fer_edge.runtime.moment import Moment
from fer_edge.runtime.sinks.showing import show_moments
from tests.moments import moment


class Sink:
    def __init__(self) -> None:
        self.seen: list[int] = []

    def show(self, one: Moment) -> None:
        self.seen.append(one.frame.index)

    def close(self) -> None: ...


def recording(n: int, seconds: float) -> list[Moment]:
    return [moment(index=i, position=i * seconds) for i in range(n)]


def test_every_sink_sees_every_moment() -> None:
    sinks = [Sink(), Sink()]
    show_moments(
        recording(3, 1000), sinks, stop=threading.Event(), in_real_time=False, failed=print
    )
    assert [sink.seen for sink in sinks] == [[0, 1, 2]] * 2


def test_recordings_take_their_time_and_live_moments_none() -> None:
    started = time.monotonic()
    show_moments(
        recording(5, 0.05), [Sink()], stop=threading.Event(), in_real_time=True, failed=print
    )
    assert time.monotonic() - started >= 0.2
    live = Sink()
    show_moments([moment()] * 3, [live], stop=threading.Event(), in_real_time=True, failed=print)
    assert live.seen == [0, 0, 0]


def test_a_wait_for_the_next_frame_ends_when_asked_to() -> None:
    stop, sink = threading.Event(), Sink()

    def moments() -> Iterator[Moment]:
        yield moment(index=0, position=0.0)
        stop.set()
        yield moment(index=1, position=3600.0)

    show_moments(moments(), [sink], stop=stop, in_real_time=True, failed=print)
    assert sink.seen == [0]


def test_a_sink_that_fails_leaves_the_others_going() -> None:
    class Full(Sink):
        def show(self, one: Moment) -> None:
            super().show(one)
            raise OutputError("full")

    full, sink, told = Full(), Sink(), []
    show_moments(
        recording(3, 1),
        [full, sink],
        stop=threading.Event(),
        in_real_time=False,
        failed=lambda *what: told.append(what),
    )
    assert sink.seen == [0, 1, 2]
    assert [(one, str(error)) for one, error in told] == [(full, "full")]


def test_what_is_wrong_is_told_when_it_changes_and_when_it_comes_back() -> None:
    fates: list[Exception | None] = [
        ConnectionRefusedError(111, "Connection refused"),
        ConnectionRefusedError(111, "Connection refused"),
        OutputError("no route"),
        None,
        OutputError("no route"),
    ]

    class Network(Sink):
        def show(self, one: Moment) -> None:
            fate = fates[one.frame.index]
            if fate is not None:
                raise fate

    told: list[str] = []
    show_moments(
        recording(5, 1),
        [Network()],
        stop=threading.Event(),
        in_real_time=False,
        failed=lambda _, error: told.append(str(error)),
    )
    assert told == [
        "Network failed: Connection refused. Check what it writes to; the other outputs go on.",
        "no route",
        "no route",
    ]


class Gone(Sink):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def show(self, _: Moment) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            OSError(errno.EPIPE, "Broken pipe"),
            "Gone failed: Broken pipe. Check what it writes to; the other outputs go on.",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "Gone failed: No space left on device. Check what it writes to; the other outputs "
            "go on.",
        ),
        (
            ValueError("no such key"),
            "Gone failed: ValueError('no such key'). The other outputs go on.",
        ),
    ],
)
def test_whatever_a_sink_raises_the_others_go_on(error: Exception, says: str) -> None:
    told: list[str] = []
    sink = Sink()
    show_moments(
        recording(3, 1),
        [Gone(error), sink],
        stop=threading.Event(),
        in_real_time=False,
        failed=lambda _, error: told.append(str(error)),
    )
    assert (sink.seen, told) == ([0, 1, 2], [says])


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EDQUOT])
def test_without_a_sink_that_is_needed_there_is_no_going_on(number: int) -> None:
    gone = Gone(OSError(number, "gone"))
    with pytest.raises(OSError, match="gone"):
        show_moments(
            recording(1, 1),
            [Sink(), gone],
            stop=threading.Event(),
            in_real_time=False,
            failed=print,
            needed=[gone],
        )
