import atexit
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import numpy as np
import pytest

from fer_edge.errors import InferenceError, InputError, UsageError
from fer_edge.runtime.batching import Batcher
from tests.tiny import classify

from .capture.fakes import wait_until

FACES = np.random.default_rng(1).integers(0, 256, (150, 48, 48), dtype=np.uint8)
LONG = 60_000.0


class Engine:
    """Remembers its batches; can be held up, and can fail."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Semaphore(0)
        self.error: Exception | None = None

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        self.entered.release()
        assert self.go.wait(10)
        if self.error is not None:
            raise self.error
        self.batches.append(len(faces))
        return classify(faces)

    def busy(self, batcher: Batcher, source: str = "first") -> None:
        """Occupy the engine with one face, so that what follows has to wait."""
        self.go.clear()
        batcher.submit(FACES[:1], source=source)
        assert self.entered.acquire(timeout=10)


@pytest.fixture
def engine() -> Engine:
    return Engine()


def test_results_are_those_of_serial_calls_whoever_shares_the_batch(engine: Engine) -> None:
    sizes = [1, 3, 2, 1, 5] * 20
    ends = np.cumsum(sizes) % 140
    parts = [FACES[end : end + size] for end, size in zip(ends, sizes, strict=True)]
    with Batcher(engine, np.asarray, max_batch=16) as batcher, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda part: batcher.submit(part).result(10), parts))
    for part, probabilities in zip(parts, found, strict=True):
        np.testing.assert_allclose(probabilities, classify(part), atol=1e-5)
    assert max(engine.batches) <= 16
    assert sum(engine.batches) == sum(sizes)


def test_what_waits_while_the_engine_is_busy_runs_together(engine: Engine) -> None:
    with Batcher(engine, np.asarray, max_delay_ms=0) as batcher:
        engine.busy(batcher)
        futures = [batcher.submit(FACES[i : i + 2], source=i) for i in range(5)]
        engine.go.set()
        for future in futures:
            future.result(10)
    assert engine.batches == [1, 10]


def test_a_lone_caller_does_not_wait(engine: Engine) -> None:
    with Batcher(engine, np.asarray, max_delay_ms=LONG) as batcher:
        for _ in range(3):
            batcher.submit(FACES[:1]).result(10)
    assert engine.batches == [1, 1, 1]


def test_sources_of_the_last_batch_are_waited_for(engine: Engine) -> None:
    with Batcher(engine, np.asarray, max_delay_ms=LONG) as batcher:
        engine.busy(batcher, "a")
        both = [batcher.submit(FACES[:1], source=name) for name in "ab"]
        engine.go.set()
        [future.result(10) for future in both]
        first = batcher.submit(FACES[:1], source="a")
        time.sleep(0.05)
        assert not first.done()
        second = batcher.submit(FACES[:1], source="b")
        first.result(10), second.result(10)
    assert engine.batches == [1, 2, 2]


def test_but_not_for_longer_than_the_delay(engine: Engine) -> None:
    with Batcher(engine, np.asarray, max_delay_ms=20) as batcher:
        engine.busy(batcher, "a")
        both = [batcher.submit(FACES[:1], source=name) for name in "ab"]
        engine.go.set()
        [future.result(10) for future in both]
        batcher.submit(FACES[:1], source="a").result(10)
    assert engine.batches == [1, 2, 1]


def test_sources_take_turns(engine: Engine) -> None:
    done: list[str] = []
    with Batcher(engine, np.asarray, max_batch=2, max_delay_ms=0) as batcher:
        engine.busy(batcher)
        for source in ["crowd"] * 4 + ["lone"]:
            batcher.submit(FACES[:1], source=source).add_done_callback(
                lambda _, name=source: done.append(name)
            )
        engine.go.set()
        batcher.submit(FACES[:1], source="crowd").result(10)
    assert done.index("lone") <= 1


def test_a_request_larger_than_a_batch_runs_alone(engine: Engine) -> None:
    with Batcher(engine, np.asarray, max_batch=4, max_delay_ms=0) as batcher:
        engine.busy(batcher)
        small = batcher.submit(FACES[:1], source="small")
        large = batcher.submit(FACES[:9], source="large")
        engine.go.set()
        np.testing.assert_allclose(large.result(10), classify(FACES[:9]), atol=1e-5)
        small.result(10)
    assert engine.batches == [1, 1, 9]


def test_the_oldest_live_request_gives_way_to_a_newer_one(engine: Engine) -> None:
    with Batcher(engine, np.asarray, max_pending=3, max_delay_ms=0) as batcher:
        engine.busy(batcher)
        own = batcher.submit(FACES[:1], source="own")
        live = [batcher.submit(FACES[i : i + 1], source="camera", live=True) for i in range(5)]
        assert [future.cancelled() for future in live] == [True, True, True, False, False]
        assert batcher.dropped == 3
        engine.go.set()
        own.result(10)
        np.testing.assert_allclose(live[4].result(10), classify(FACES[4:5]), atol=1e-5)
        with pytest.raises(CancelledError):
            live[0].result(10)


def test_a_live_request_never_pushes_out_a_callers_own(engine: Engine) -> None:
    with Batcher(engine, np.asarray, max_pending=2, max_delay_ms=0) as batcher:
        engine.busy(batcher)
        own = [batcher.submit(FACES[:1], source=i) for i in range(2)]
        assert batcher.submit(FACES[:1], source="camera", live=True).cancelled()
        engine.go.set()
        for future in own:
            future.result(10)


def test_a_callers_own_request_waits_for_room(engine: Engine) -> None:
    with (
        Batcher(engine, np.asarray, max_pending=1, max_delay_ms=0) as batcher,
        ThreadPoolExecutor() as pool,
    ):
        engine.busy(batcher)
        batcher.submit(FACES[:1], source=1)
        waiting = pool.submit(lambda: batcher.submit(FACES[:2], source=2).result(10))
        time.sleep(0.05)
        assert not waiting.done()
        engine.go.set()
        np.testing.assert_allclose(waiting.result(10), classify(FACES[:2]), atol=1e-5)


def test_an_engine_that_raises_fails_its_batch_and_goes_on(engine: Engine) -> None:
    with Batcher(engine, np.asarray) as batcher:
        engine.error = InferenceError("out of memory")
        with pytest.raises(InferenceError, match="out of memory"):
            batcher.submit(FACES[:1]).result(10)
        engine.error = None
        np.testing.assert_allclose(
            batcher.submit(FACES[:1]).result(10), classify(FACES[:1]), atol=1e-5
        )


def test_a_future_that_its_owner_cancels_is_not_run(engine: Engine) -> None:
    with Batcher(engine, np.asarray, max_delay_ms=0) as batcher:
        engine.busy(batcher)
        unwanted = batcher.submit(FACES[:3], source="a")
        assert unwanted.cancel()
        engine.go.set()
        batcher.submit(FACES[:1], source="b").result(10)
    assert sum(engine.batches) == 2


def test_what_was_cancelled_takes_no_place_in_a_batch_and_leaves_nothing(engine: Engine) -> None:
    with Batcher(engine, np.asarray, max_batch=8) as batcher:
        engine.busy(batcher)
        gone = [batcher.submit(FACES[:4], source=f"gone {i}") for i in range(10)]
        kept = batcher.submit(FACES[:8], source="kept")
        assert all(future.cancel() for future in gone)
        engine.go.set()
        np.testing.assert_array_equal(kept.result(10), classify(FACES[:8]))
        assert engine.batches == [1, 8]
        # Sources come and go, as a server's connections do.
        assert not batcher._queues
        assert batcher._waiting == 0


def test_closing_ends_what_waits_and_refuses_more(engine: Engine) -> None:
    batcher = Batcher(engine, np.asarray, max_delay_ms=0)
    engine.busy(batcher)
    waiting = batcher.submit(FACES[:1], source="a")
    closing = threading.Thread(target=batcher.close)
    closing.start()
    with pytest.raises(InferenceError, match="was closed"):
        waiting.result(10)
    engine.go.set()
    closing.join(10)
    batcher.close()
    with pytest.raises(InferenceError, match="is closed"):
        batcher.submit(FACES[:1])
    assert engine.batches == [1]


@pytest.mark.parametrize("bad", [{"max_batch": 0}, {"max_pending": 0}, {"max_delay_ms": -1}])
def test_bounds_are_checked(engine: Engine, bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        Batcher(engine, np.asarray, **bad)


def test_a_request_without_faces(engine: Engine) -> None:
    with Batcher(engine, np.asarray) as batcher, pytest.raises(InputError, match="a face at least"):
        batcher.submit(FACES[:0])


def test_who_has_not_come_back_in_time_is_not_waited_for(engine: Engine) -> None:
    with Batcher(engine, np.asarray, max_delay_ms=LONG) as batcher:
        engine.busy(batcher, "a")
        both = [batcher.submit(FACES[:1], source=name) for name in "ab"]
        engine.go.set()
        [future.result(10) for future in both]
        batcher._finished -= LONG / 1e3
        batcher.submit(FACES[:1], source="a").result(10)
    assert engine.batches == [1, 2, 1]


def test_a_callback_may_submit_though_the_queue_is_full(engine: Engine) -> None:
    again: list[object] = []
    with Batcher(engine, np.asarray, max_batch=1, max_pending=2, max_delay_ms=0) as batcher:
        engine.busy(batcher)
        first, second = (batcher.submit(FACES[:1], source=i) for i in range(2))
        first.add_done_callback(lambda _: again.append(batcher.submit(FACES[:2], source=2)))
        first.add_done_callback(lambda _: again.append(batcher.answer(FACES[:3])))
        engine.go.set()
        second.result(10)
        wait_until(lambda: len(again) == 2)
        np.testing.assert_allclose(again[0].result(10), classify(FACES[:2]), atol=1e-5)
        np.testing.assert_allclose(again[1], classify(FACES[:3]), atol=1e-5)


def test_a_callback_of_what_is_given_up_may_submit_again(engine: Engine) -> None:
    again: list[Future[np.ndarray]] = []
    batcher = Batcher(engine, np.asarray, max_pending=2, max_delay_ms=0)

    def ask(source: str) -> None:
        again.append(batcher.submit(FACES[1:2], source=source, live=True))

    engine.busy(batcher)
    live = [batcher.submit(FACES[:1], source=i, live=True) for i in range(2)]
    live[0].add_done_callback(lambda _: ask("again"))
    asking = threading.Thread(target=ask, args=["new"], daemon=True)
    asking.start()
    asking.join(10)
    if asking.is_alive():
        atexit.unregister(batcher.close)  # which would hang, too
        pytest.fail("it hangs")
    with batcher:
        assert [future.cancelled() for future in live] == [True, True]
        assert batcher.dropped == 2
        engine.go.set()
        for future in again:
            np.testing.assert_allclose(future.result(10), classify(FACES[1:2]), atol=1e-5)


def test_a_caller_who_is_alone_runs_the_engine_itself(engine: Engine) -> None:
    before = threading.active_count()
    with Batcher(engine, np.asarray, max_delay_ms=LONG) as batcher:
        for n in (3, 0, 1):
            np.testing.assert_allclose(batcher.answer(FACES[:n]), classify(FACES[:n]), atol=1e-5)
        assert threading.active_count() == before
    with pytest.raises(InferenceError, match="is closed"):
        batcher.answer(FACES[:1])
    with pytest.raises(InferenceError, match="is closed"):
        batcher.answer(FACES[:0])
    assert engine.batches == [3, 0, 1]


def test_callers_who_are_not_alone_share_a_batch(engine: Engine) -> None:
    with (
        Batcher(engine, np.asarray, max_delay_ms=0) as batcher,
        ThreadPoolExecutor(4) as pool,
    ):
        engine.go.clear()
        alone = pool.submit(batcher.answer, FACES[:1])
        assert engine.entered.acquire(timeout=10)
        others = [pool.submit(batcher.answer, FACES[i : i + 2]) for i in range(3)]
        wait_until(lambda: batcher._waiting == 6)
        engine.go.set()
        np.testing.assert_allclose(alone.result(10), classify(FACES[:1]), atol=1e-5)
        for i, other in enumerate(others):
            np.testing.assert_allclose(other.result(10), classify(FACES[i : i + 2]), atol=1e-5)
    assert engine.batches == [1, 6]


def test_an_engine_that_raises_in_a_callers_thread_is_free_again(engine: Engine) -> None:
    with Batcher(engine, np.asarray, max_delay_ms=0) as batcher:
        engine.error = InferenceError("out of memory")
        with pytest.raises(InferenceError, match="out of memory"):
            batcher.answer(FACES[:1])
        engine.error = None
        batcher.submit(FACES[:1]).result(10)
        batcher.answer(FACES[:1])
