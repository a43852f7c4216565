import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from fer_edge.detection.gathering import Gathering


class Busy:
    """Doubles numbers, a batch at a time, and only when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.free = threading.Semaphore(0)
        self.inside = threading.Semaphore(0)
        self.running = threading.Lock()
        self.fails: set[int] = set()

    def __call__(self, batch: Sequence[int]) -> list[int]:
        assert self.running.acquire(blocking=False), "two at a time"
        try:
            self.batches.append(list(batch))
            self.inside.release()
            assert self.free.acquire(timeout=30)
            if self.fails & set(batch):
                raise ValueError("no")
            return [2 * number for number in batch]
        finally:
            self.running.release()


def waiting(gathering: Gathering[int, int], number: int) -> None:
    """Until so many wait."""
    for _ in range(3000):
        if len(gathering._waiting) == number:
            return
        time.sleep(0.001)
    raise AssertionError("they do not come")


def test_a_call_alone_goes_at_once() -> None:
    busy = Busy()
    gathering = Gathering(busy, 4)
    for number in range(3):
        busy.free.release()
        assert gathering(number) == 2 * number
    assert busy.batches == [[0], [1], [2]]


def test_what_comes_meanwhile_goes_together() -> None:
    busy = Busy()
    gathering = Gathering(busy, 4)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(gathering, 0)
        assert busy.inside.acquire(timeout=30)
        others = []
        for number in range(1, 7):
            others.append(pool.submit(gathering, number))
            waiting(gathering, number)
        for _ in range(3):
            busy.free.release()
        assert [one.result() for one in (first, *others)] == [2 * number for number in range(7)]
    assert busy.batches == [[0], [1, 2, 3, 4], [5, 6]]
    busy.free.release()
    assert gathering(9) == 18


def test_an_error_is_everybodys_of_the_batch_and_nobody_elses() -> None:
    busy = Busy()
    busy.fails = {2}
    gathering = Gathering(busy, 2)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(gathering, 0)]
        assert busy.inside.acquire(timeout=30)
        for number in range(1, 5):
            calls.append(pool.submit(gathering, number))
            waiting(gathering, number)
        for _ in range(3):
            busy.free.release()
        assert calls[0].result() == 0
        for call in calls[1:3]:
            with pytest.raises(ValueError, match="no"):
                call.result()
        assert [call.result() for call in calls[3:]] == [6, 8]


def test_who_gives_up_waiting_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, while it waits or just as it is to lead."""
    for wake_first in (False, True):
        busy = Busy()
        gathering: Gathering[int, int] = Gathering(busy, 4)

        def interrupted(
            event: threading.Event,
            gathering: Gathering[int, int] = gathering,
            busy: Busy = busy,
            wake_first: bool = wake_first,
        ) -> None:
            if wake_first:
                busy.free.release()
                while not event.is_set():
                    time.sleep(0.001)
            assert gathering._waiting
            raise KeyboardInterrupt

        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(gathering, 0)
            assert busy.inside.acquire(timeout=30)
            with monkeypatch.context() as patched:
                patched.setattr(threading.Event, "wait", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    gathering(1)
            busy.free.release()
            busy.free.release()
            assert first.result() == 0
            assert pool.submit(gathering, 2).result(timeout=30) == 4
        assert [1] not in busy.batches


def test_all_are_answered_under_load() -> None:
    sizes = []

    def run(batch: Sequence[int]) -> list[int]:
        sizes.append(len(batch))
        time.sleep(0.001)
        return [number + 1 for number in batch]

    gathering = Gathering(run, 3)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(gathering, range(300))) == list(range(1, 301))
    assert max(sizes) == 3
    assert sum(sizes) == 300
