import itertools
import json
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from fer_edge.data.face_crop import Box
from fer_edge.errors import InferenceError, UsageError
from fer_edge.runtime import watch as module
from fer_edge.runtime.capture import Camera, camera
from fer_edge.runtime.detection import Detection
from fer_edge.runtime.moment import Moment
from fer_edge.runtime.watch import watch
from tests.tiny import classify

from .capture.fakes import FakeDevice, wait_until

FRAMES = np.random.default_rng(3).integers(0, 256, (12, 90, 120, 3), dtype=np.uint8)


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
        moments = list(watch(classify, [frames], detector))
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
        moments = list(watch(classify, [frames], detector, detect_every=4))
    assert detector.calls == 3
    assert [moment.faces[0].score for moment in moments] == [0.9, None, None, None] * 3
    assert {face.track for moment in moments for face in moment.faces} == {0}


def test_no_faces_for_long_then_several() -> None:
    with Camera(FRAMES) as frames:
        moments = list(watch(classify, [frames], Detector(*[0] * 10, 1, 2)))
    assert [len(moment.faces) for moment in moments] == [0] * 10 + [1, 2]


def test_frames_that_change_size() -> None:
    frames = [FRAMES[0], FRAMES[1][:40, :60], FRAMES[2][..., 0]]
    with Camera(frames) as source:
        moments = list(watch(classify, [source], Detector()))
    assert [len(moment.faces) for moment in moments] == [1, 1, 1]


def test_an_engine_that_raises_reaches_the_caller_and_the_camera_goes_on() -> None:
    def broken(_: np.ndarray) -> np.ndarray:
        raise InferenceError("out of memory")

    with Camera(FRAMES) as frames:
        with pytest.raises(InferenceError, match="out of memory"):
            next(watch(broken, [frames], Detector()))
        assert next(watch(classify, [frames], Detector())).frame.index == 1


def test_cameras_take_turns_and_each_has_its_own_tracks() -> None:
    with Camera(FRAMES, name="a") as a, Camera(FRAMES[:3], name="b") as b:
        moments = list(watch(classify, [a, b], Detector()))
    assert [moment.frame.source for moment in moments[:6]] == ["a", "b"] * 3
    assert [moment.frame.index for moment in moments if moment.frame.source == "b"] == [0, 1, 2]
    assert len(moments) == 15
    assert {face.track for moment in moments for face in moment.faces} == {0}


def test_a_live_camera_is_seen_at_its_newest() -> None:
    device = FakeDevice()
    with Camera(device.source()) as live:
        device.send(*FRAMES[:5])
        wait_until(lambda: live.dropped == 4)
        moments = watch(classify, [live], Detector())
        assert next(moments).frame.index == 4
        device.send(FRAMES[5])
        assert next(moments).frame.index == 5
        moments.close()
        assert live.listeners == []
        device.present = False


def test_a_lost_camera_does_not_hold_up_the_others() -> None:
    lost, good = FakeDevice(), FakeDevice()
    with Camera(lost.source(), name="lost") as a, Camera(good.source(), name="good") as b:
        lost.present = False
        moments = watch(classify, [a, b], Detector())
        for i in range(3):
            good.send(FRAMES[i])
            moment = next(moments)
            assert (moment.frame.source, moment.frame.index) == ("good", i)
        lost.present = True
        lost.send(FRAMES[0])
        assert next(moments).frame.source == "lost"
        lost.present = good.present = False


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 1), (0.1, module.MOST_FRAMES_UNDETECTED)])
def test_a_slow_detector_is_asked_less_often(seconds: float, expected: int) -> None:
    device = FakeDevice()
    done = threading.Event()

    def send() -> None:
        while not done.wait(0.01):
            device.send(FRAMES[0])

    with Camera(device.source()) as live:
        threading.Thread(target=send).start()
        detector = Detector(seconds=seconds)
        for _ in itertools.islice(watch(classify, [live], detector), 21):
            pass
        done.set()
        device.present = False
    assert detector.calls == pytest.approx(20 / expected, abs=2)


def test_a_moment_is_json() -> None:
    with Camera(FRAMES[:1], name="door") as frames:
        (moment,) = watch(classify, [frames], Detector())
    told = json.loads(json.dumps(moment.to_dict()))
    assert (told["source"], told["frame"], told["position"]) == ("door", 0, None)
    (face,) = told["faces"]
    assert face["emotion"] == max(face["probabilities"], key=face["probabilities"].get)
    assert sum(face["raw"].values()) == pytest.approx(1, abs=1e-3)
    assert face["box"] == [6, 10, 30, 30]


def test_values_are_checked_at_once() -> None:
    with pytest.raises(UsageError, match="detect_every must be at least 1"):
        watch(classify, [], Detector(), detect_every=0)


def test_the_recognizer_watches(fake: Callable[..., object]) -> None:
    _, recognizer = fake()
    with recognizer, Camera(FRAMES) as frames:
        moments = list(recognizer.watch(frames, detector=Detector()))
    assert len(moments) == 12
    assert all(isinstance(moment, Moment) for moment in moments)
