"""Frames under way in several threads, as :func:`fer_edge.runtime.watch.watch` has them."""

import itertools
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from fer_edge.errors import InferenceError
from fer_edge.pixels.boxes import Box
from fer_edge.runtime.capture import Camera
from fer_edge.runtime.capture.feed import Feed
from fer_edge.runtime.detection import Detection
from fer_edge.runtime.watch import watch
from tests.tiny import classify

FRAMES = np.random.default_rng(3).integers(0, 256, (12, 90, 120, 3), dtype=np.uint8)


def answer(faces: np.ndarray, _: bool) -> np.ndarray:
    return classify(faces)


class Several:
    """Finds one face in each frame, in as many threads at a time as it says."""

    def __init__(self, at_once: int, seconds: float = 0, meet: int = 1) -> None:
        self.at_once = at_once
        self.seconds = seconds
        self.meet = threading.Barrier(meet, timeout=30)
        self.threads: set[str] = set()

    def __call__(self, image: np.ndarray) -> list[Detection]:
        self.threads.add(threading.current_thread().name)
        self.meet.wait()
        time.sleep(self.seconds)
        return [Detection(Box(5, 10, 30 + float(image[0, 0, 0]) / 100, 30), 0.9)]


def facts(moments: list) -> list[object]:
    return [
        (
            m.frame.index,
            [(f.track, f.box, f.score, f.label, f.probabilities.tolist()) for f in m.faces],
        )
        for m in moments
    ]


@pytest.mark.parametrize("every", [1, 3])
def test_the_same_in_order_whether_one_frame_is_looked_at_or_several(every: int) -> None:
    with Camera(FRAMES, fps=30) as frames:
        alone = facts(list(watch(answer, frames, Several(1), detect_every=every)))
    detector = Several(2, meet=2)
    with Camera(FRAMES, fps=30) as frames:
        together = facts(list(watch(answer, frames, detector, detect_every=every)))
    assert alone == together
    assert [index for index, _ in together] == list(range(12))
    assert len(detector.threads) == 2
    assert all(name.startswith("fer-edge detection") for name in detector.threads)


def test_a_programs_own_detector_is_asked_by_the_thread_that_watches() -> None:
    detector = Several(1)
    with Camera(FRAMES) as frames:
        list(watch(answer, frames, detector))
    assert detector.threads == {threading.current_thread().name}


def test_frames_of_two_cameras_are_looked_at_at_once() -> None:
    with Feed("left") as left, Feed("right") as right:
        moments = watch(answer, [left, right], Several(2, meet=2))
        left.put(FRAMES[0])
        right.put(FRAMES[1])
        seen = [next(moments), next(moments)]
        moments.close()
    assert {moment.frame.source for moment in seen} == {"left", "right"}


def test_who_is_slow_with_a_moment_gets_a_fresh_one_next() -> None:
    done = threading.Event()

    def put() -> None:
        for i in itertools.count():
            if done.wait(0.01):
                return
            feed.put(FRAMES[i % 12])

    with Feed() as feed:
        thread = threading.Thread(target=put)
        thread.start()
        moments = watch(answer, feed, Several(2, seconds=0.015), detect_every=1)
        seen = []
        for moment in itertools.islice(moments, 12):
            seen.append(moment)
            time.sleep(0.2)
        dropped, last = feed.dropped, seen[-1].frame.index
        moments.close()
        done.set()
        thread.join()
    # Without regard for what waited, ages were those of the pause.
    assert np.median([moment.age_ms for moment in seen[2:]]) < 120
    indices = [moment.frame.index for moment in seen]
    assert indices == sorted(set(indices))
    # All that came before the last one shown was shown or counted as dropped.
    assert dropped >= last + 1 - len(seen)


def test_what_the_detector_raises_reaches_the_caller_after_the_frames_before() -> None:
    calls = itertools.count()

    class Fails(Several):
        def __call__(self, image: np.ndarray) -> list[Detection]:
            if next(calls) == 5:
                raise InferenceError("out of memory")
            return super().__call__(image)

    seen = []
    with Camera(FRAMES) as frames, pytest.raises(InferenceError, match="out of memory"):
        seen += watch(answer, frames, Fails(2))
    assert len(seen) <= 5


def test_a_source_that_fails_is_told_after_its_frames() -> None:
    def images() -> object:
        yield from FRAMES[:5]
        raise ZeroDivisionError("of a program's own")

    with Camera(images()) as frames:
        moments = watch(answer, frames, Several(2))
        assert [next(moments).frame.index for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(ZeroDivisionError):
            next(moments)


class Growing(Several):
    """Says that it takes four at once when it has seen three frames."""

    calls = 0

    def __call__(self, image: np.ndarray) -> list[Detection]:
        self.calls += 1
        if self.calls == 3:
            self.at_once = 4
        return super().__call__(image)


@pytest.mark.parametrize("first", [1, 2])
def test_a_detector_that_comes_to_take_more_gets_more(
    first: int, lookers: Callable[[], list[str]]
) -> None:
    with Camera(FRAMES, fps=30) as frames:
        alone = facts(list(watch(answer, frames, Several(1))))
    detector = Growing(first, seconds=0.02)
    with Camera(FRAMES, fps=30) as frames:
        together = facts(list(watch(answer, frames, detector)))
    assert together == alone
    assert len(detector.threads - {threading.current_thread().name}) > first
    assert lookers() == []


@pytest.mark.parametrize("number", [0, 1, 5])
def test_no_thread_is_left_behind(number: int, lookers: Callable[[], list[str]]) -> None:
    with Camera(FRAMES) as frames:
        moments = watch(answer, frames, Several(3))
        for _ in range(number):
            next(moments)
        moments.close()
    assert lookers() == []


@pytest.fixture
def lookers() -> Callable[[], list[str]]:
    """Names of threads that look for faces."""
    return lambda: [t.name for t in threading.enumerate() if t.name.startswith("fer-edge detec")]
