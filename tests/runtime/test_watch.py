import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.errors import InferenceError, UsageError
from fer_edge.pixels.boxes import Box
from fer_edge.runtime import watch as module
from fer_edge.runtime.capture import Camera, Source, State, camera
from fer_edge.runtime.detection import Detection
from fer_edge.runtime.moment import Moment
from fer_edge.runtime.stream import MOST_FRAMES_UNDETECTED
from fer_edge.runtime.watch import watch
from tests.tiny import classify

from .capture.fakes import FakeDevice, wait_until

FRAMES = np.random.default_rng(3).integers(0, 256, (12, 90, 120, 3), dtype=np.uint8)


def answer(faces: np.ndarray, _: bool) -> np.ndarray:
    return classify(faces)


class Detector:
    """Finds one face that moves to the right, or what the test says."""

    def __init__(self, *found: int, seconds: float = 0) -> None:
        self.found = list(found)
        self.calls = 0
        self.seconds = seconds

    def __call__(self, _: np.ndarray) -> list[Detection]:
        n = self.found[self.calls] if self.calls < len(self.found) else 1
        self.calls += 1
        time.sleep(self.seconds)
        return [Detection(Box(5 + 70 * i + self.calls, 10, 30, 30), 0.9) for i in range(n)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(camera, "PATIENCE", 0.05)


def test_every_frame_of_a_recording_is_seen_and_detected() -> None:
    detector = Detector()
    with Camera(FRAMES) as frames:
        moments = list(watch(answer, [frames], detector))
    assert [moment.frame.index for moment in moments] == list(range(12))
    assert detector.calls == 12
    assert {face.track for moment in moments for face in moment.faces} == {0}
    for moment in moments:
        (face,) = moment.faces
        assert face.raw.shape == face.probabilities.shape == (7,)
        assert moment.age_ms >= 0


def test_faces_are_followed_between_detections() -> None:
    detector = Detector()
    with Camera(FRAMES) as frames:
        moments = list(watch(answer, [frames], detector, detect_every=4))
    assert detector.calls == 3
    assert [moment.faces[0].score for moment in moments] == [0.9, None, None, None] * 3
    assert {face.track for moment in moments for face in moment.faces} == {0}


def test_no_faces_for_long_then_several() -> None:
    with Camera(FRAMES) as frames:
        moments = list(watch(answer, [frames], Detector(*[0] * 10, 1, 2)))
    assert [len(moment.faces) for moment in moments] == [0] * 10 + [1, 2]


def test_frames_that_change_size() -> None:
    frames = [FRAMES[0], FRAMES[1][:40, :60], FRAMES[2][..., 0]]
    with Camera(frames) as source:
        moments = list(watch(answer, [source], Detector()))
    assert [len(moment.faces) for moment in moments] == [1, 1, 1]


def test_an_engine_that_raises_reaches_the_caller_and_the_camera_goes_on() -> None:
    def broken(*_: object) -> np.ndarray:
        raise InferenceError("out of memory")

    with Camera(FRAMES) as frames:
        with pytest.raises(InferenceError, match="out of memory"):
            next(watch(broken, [frames], Detector()))
        assert next(watch(answer, [frames], Detector())).frame.index == 1


def test_cameras_take_turns_and_each_has_its_own_tracks() -> None:
    with Camera(FRAMES, name="a") as a, Camera(FRAMES[:3], name="b") as b:
        moments = list(watch(answer, [a, b], Detector()))
    assert [moment.frame.source for moment in moments[:6]] == ["a", "b"] * 3
    assert [moment.frame.index for moment in moments if moment.frame.source == "b"] == [0, 1, 2]
    assert len(moments) == 15
    assert {face.track for moment in moments for face in moment.faces} == {0}


def test_a_live_camera_is_seen_at_its_newest() -> None:
    device = FakeDevice()
    with Camera(device.source()) as live:
        device.send(*FRAMES[:5])
        wait_until(lambda: live.dropped == 4)
        moments = watch(answer, [live], Detector())
        assert next(moments).frame.index == 4
        device.send(FRAMES[5])
        assert next(moments).frame.index == 5
        moments.close()
        assert live.listeners == []
        device.present = False


@dataclass(eq=False)
class Waiting:
    """What is asked of a stream."""

    name: str
    waited: float | None
    served: float
    rate: float

    @property
    def silent(self) -> bool:
        return self.waited is None

    def age(self, _: float) -> float | None:
        return self.waited


@pytest.mark.parametrize(
    ("waiting", "rate", "expected"),
    [
        # (name, seconds that its frame has waited, when it was answered)
        ([("a", 0.001, 9.0), ("b", 0.012, 5.0)], 100, "b"),  # both fresh: b is longer unanswered
        ([("a", 0.001, 9.0), ("b", 0.017, 5.0)], 100, "a"),
        ([("a", 0.030, 9.0), ("b", 0.019, 5.0)], 30, "b"),  # all can be answered: the freshest
        ([("a", 0.030, 9.0), ("b", 0.019, 5.0)], 60, None),  # 120 a second cannot
        ([("a", None, 9.0), ("b", None, 5.0)], 60, None),
    ],
)
def test_who_is_next_where_an_answer_takes_10_ms(
    waiting: list[tuple[str, float | None, float]], rate: float, expected: str | None
) -> None:
    streams = [Waiting(name, age, served, rate) for name, age, served in waiting]
    chosen = module._next(streams, 0.01, 1)
    assert (chosen and chosen.name) == expected


def test_a_lost_camera_does_not_hold_up_the_others() -> None:
    lost, good = FakeDevice(), FakeDevice()
    with Camera(lost.source(), name="lost") as a, Camera(good.source(), name="good") as b:
        lost.present = False
        moments = watch(answer, [a, b], Detector())
        for i in range(3):
            good.send(FRAMES[i])
            moment = next(moments)
            assert (moment.frame.source, moment.frame.index) == ("good", i)
        lost.present = True
        lost.send(FRAMES[0])
        assert next(moments).frame.source == "lost"
        lost.present = good.present = False


@pytest.mark.parametrize(
    # A busy machine takes more than 10 ms for a frame, whatever the detector takes.
    ("seconds", "every", "expected"),
    [(0.0, 0.15, 1), (0.1, 0.01, MOST_FRAMES_UNDETECTED)],
)
def test_a_slow_detector_is_asked_less_often(seconds: float, every: float, expected: int) -> None:
    device = FakeDevice()
    done = threading.Event()

    def send() -> None:
        while not done.wait(every):
            device.send(FRAMES[0])

    with Camera(device.source()) as live:
        threading.Thread(target=send).start()
        detector = Detector(seconds=seconds)
        for _ in itertools.islice(watch(answer, [live], detector), 21):
            pass
        done.set()
        device.present = False
    assert detector.calls == pytest.approx(20 / expected, abs=2)


def test_a_moment_is_json() -> None:
    with Camera(FRAMES[:1], name="door") as frames:
        (moment,) = watch(answer, [frames], Detector())
    told = json.loads(json.dumps(moment.to_dict()))
    assert (told["source"], told["frame"], told["position"]) == ("door", 0, None)
    (face,) = told["faces"]
    assert face["emotion"] == max(face["probabilities"], key=face["probabilities"].get)
    assert sum(face["raw"].values()) == pytest.approx(1, abs=1e-3)
    assert face["box"] == [6, 10, 30, 30]


@pytest.mark.parametrize(
    ("cameras", "says"),
    [
        (0, "A Camera can be watched, int cannot"),
        ("a.mp4", "str cannot. Open it first"),
        ([FRAMES], "ndarray cannot"),
        ([], "no camera"),
    ],
)
def test_what_is_no_camera(cameras: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        watch(answer, cameras, Detector())


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"detect_every": 0}, "detect_every must be at least 1"),
        ({"heartbeat": 0}, "heartbeat must be above 0 seconds"),
        ({"smooth_seconds": -1}, "Smoothing must be 0 seconds or more, got -1"),
        ({"margin": -0.1}, "margin of smoothing must be 0 or more, got -0.1"),
    ],
)
def test_values_are_checked_at_once(
    fake: Callable[..., object], option: dict[str, float], says: str
) -> None:
    with Camera(FRAMES) as frames, pytest.raises(UsageError, match=says):
        fake()[1].watch(frames, detector=Detector(), **option)


def test_a_camera_is_watched_once_at_a_time() -> None:
    with Camera(FRAMES, name="door") as frames:
        with pytest.raises(UsageError, match="there twice"):
            watch(answer, [frames, frames], Detector())
        first = watch(answer, frames, Detector())
        next(first)
        with pytest.raises(UsageError, match="door is being watched already"):
            next(watch(answer, frames, Detector()))
        assert next(first).frame.index == 1
        first.close()
        assert next(watch(answer, frames, Detector())).frame.index == 2


@pytest.mark.parametrize("seen", [True, False])
def test_a_closed_recognizer_ends_the_watch_whatever_is_seen(
    fake: Callable[..., object], seen: bool
) -> None:
    device = FakeDevice()
    _, recognizer = fake()
    with Camera(device.source()) as live:
        moments = recognizer.watch(live, detector=lambda _: [])
        device.send(FRAMES[0])
        next(moments)
        recognizer.close()
        if seen:
            device.send(FRAMES[1])
        limit = threading.Timer(10, live.close)
        limit.start()
        with pytest.raises(InferenceError, match="closed"):
            next(moments)
        limit.cancel()
        device.present = False


def test_a_silent_camera_is_told_of_with_its_state() -> None:
    device, good = FakeDevice(), FakeDevice()
    with (
        Camera(device.source(), name="door") as live,
        Camera(good.source(), name="hall") as other,
    ):
        device.send(FRAMES[0])
        moments = watch(answer, [live, other], Detector(), heartbeat=0.02)
        first = next(moment for moment in moments if moment.faces)
        assert (first.frame.source, first.state) == ("door", State.RUNNING)
        device.present = False
        lost = next(moment for moment in moments if moment.state is State.LOST)
        assert lost.frame is first.frame
        assert lost.faces == []
        assert lost.age_ms > first.age_ms
        assert json.loads(lost.to_json())["state"] == "lost"
        unseen = [
            moment for moment in itertools.islice(moments, 6) if moment.frame.source == "hall"
        ]
        assert unseen[0].age_ms < unseen[-1].age_ms
        assert unseen[0].frame.image.shape == (480, 640, 3)
        device.present = True
        device.send(FRAMES[1])
        back = next(moment for moment in moments if moment.faces)
        assert (back.frame.index, back.state) == (1, State.RUNNING)
        device.present = good.present = False


def test_without_a_heartbeat_a_silent_camera_says_nothing() -> None:
    device = FakeDevice()
    with Camera(device.source()) as live, ThreadPoolExecutor(1) as pool:
        first = pool.submit(next, watch(answer, live, Detector()))
        time.sleep(0.05)
        assert not first.done()
        device.send(FRAMES[0])
        assert first.result(10).faces
        device.present = False


def recording(frames: Iterable[np.ndarray], fps: float) -> Source:
    """Frames with times."""

    class Reader:
        def __init__(self) -> None:
            self.images = enumerate(frames)

        def read(self) -> tuple[np.ndarray, float] | None:
            found = next(self.images, None)
            return None if found is None else (found[1], found[0] / fps)

        def close(self) -> None: ...

    return Source("recording", False, Reader)


def test_a_face_that_is_missed_for_a_moment_stays() -> None:
    with Camera(recording(FRAMES, 10)) as frames:
        moments = list(watch(answer, frames, Detector(1, 1, 0, 0, 1, *[0] * 7)))
    assert [[face.seen for face in moment.faces] for moment in moments] == [
        [True], [True], [False], [False], [True], *[[False]] * 5, [], [],
    ]  # fmt: skip
    assert {face.track for moment in moments for face in moment.faces} == {0}
    (last,), (held,) = moments[1].faces, moments[3].faces
    assert held.score is None
    assert held.label == last.label
    np.testing.assert_array_equal(held.probabilities, last.probabilities)
    assert held.box.x == pytest.approx(last.box.x + 2)  # it moved 1 pixel a frame
    assert [row["frame"] for moment in moments for row in moment.to_rows()] == [0, 1, 4]


def test_nobody_is_followed_whom_the_last_detection_missed() -> None:
    with Camera(recording(FRAMES, 10)) as frames:
        moments = list(watch(answer, frames, Detector(1, 0, 0), detect_every=2))
    seen = [[face.seen for face in moment.faces] for moment in moments[:4]]
    assert seen == [[True], [True], [False], [False]]


def test_photos_of_a_folder_have_nothing_to_do_with_each_other(tmp_path: Path) -> None:
    for i in range(4):
        Image.fromarray(FRAMES[i]).save(tmp_path / f"{i}.png")
    with Camera(tmp_path) as folder:
        moments = list(watch(answer, folder, Detector(2, 1, 0, 1), detect_every=3))
    assert [[face.track for face in moment.faces] for moment in moments] == [[0, 1], [0], [], [0]]
    for moment in moments:
        for face in moment.faces:
            np.testing.assert_array_equal(face.probabilities, face.raw)


def test_watches_in_several_threads_share_batches(fake: Callable[..., object]) -> None:
    engine, recognizer = fake(delay=0.02)

    def look(_: int) -> list[Moment]:
        with Camera(FRAMES) as frames:
            return list(recognizer.watch(frames, detector=Detector()))

    with recognizer, ThreadPoolExecutor(4) as pool:
        watches = list(pool.map(look, range(4)))
    alone = [moment.faces[0].raw for moment in watches[0]]
    for moments in watches:
        np.testing.assert_allclose([moment.faces[0].raw for moment in moments], alone, atol=1e-5)
    assert sum(engine.batches) == 48
    assert max(engine.batches) > 1


def test_a_live_frame_gives_way_and_is_counted(fake: Callable[..., object]) -> None:
    engine, recognizer = fake()
    recognizer._batcher._max_pending = 4
    run, go = engine.run, threading.Event()
    engine.run = lambda faces: run(faces) if go.wait(10) else None
    device = FakeDevice()
    with recognizer, Camera(device.source()) as live, ThreadPoolExecutor(1) as pool:
        own = [recognizer.submit(FRAMES[0, :48, :48, 0], source=0)]
        wait_until(lambda: recognizer._batcher._running)
        own += [recognizer.submit(FRAMES[:2, :48, :48, 0], source=i) for i in range(2)]
        first = pool.submit(next, recognizer.watch(live, detector=Detector()))
        device.send(FRAMES[0])
        wait_until(lambda: recognizer.dropped == 1)
        go.set()
        assert [len(future.result(10)) for future in own] == [1, 2, 2]
        device.send(FRAMES[1])
        assert first.result(10).frame.index == 1
        device.present = False


def test_the_recognizer_watches(fake: Callable[..., object]) -> None:
    _, recognizer = fake()
    with recognizer, Camera(FRAMES) as frames:
        moments = list(recognizer.watch(frames, detector=Detector()))
    assert len(moments) == 12
    assert all(isinstance(moment, Moment) for moment in moments)
