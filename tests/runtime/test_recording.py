import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.engines.base import Faces, Probabilities
from fer_edge.errors import InferenceError, UsageError
from fer_edge.pixels.boxes import Box
from fer_edge.runtime.capture import Camera, Source
from fer_edge.runtime.detection import Detection
from fer_edge.runtime.recording import analyze
from fer_edge.runtime.watch import watch
from tests.tiny import classify

N = 40


class Film:
    """A recording of N frames, 10 a second, whose pixels tell their number."""

    def __init__(self, n: int = N) -> None:
        self.left = n
        self.n = n

    def read(self) -> tuple[np.ndarray, float] | None:
        if not self.left:
            return None
        self.left -= 1
        index = self.n - self.left - 1
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (60, 200, 3), dtype=np.uint8)
        image[0, 0] = index
        return image, index / 10

    def close(self) -> None: ...


def film(n: int = N) -> Camera:
    return Camera(Source("film", False, lambda: Film(n)))


def detect(image: np.ndarray) -> list[Detection]:
    """As many faces as the frame's number says, 0 to 2, that move to the right."""
    index = int(image[0, 0, 0])
    return [Detection(Box(5 + 90 * i + index, 10, 40, 40), 0.9) for i in range(index % 3)]


class Engine:
    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, faces: Faces) -> Probabilities:
        if len(faces):
            self.batches.append(len(faces))
        return classify(faces)


def several(find: Callable, at_once: int) -> Callable:
    """A detector that may be given so many frames at once."""

    def detector(image: np.ndarray) -> list[Detection]:
        return find(image)

    detector.at_once = at_once  # type: ignore[attr-defined]
    return detector


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("every", [1, 4])
def test_the_same_as_one_frame_after_another_in_fewer_calls(workers: int, every: int) -> None:
    alone, together = Engine(), Engine()
    with film() as camera:
        expected = list(watch(lambda faces, _: alone(faces), camera, detect, detect_every=every))
    with film() as camera:
        moments = list(analyze(together, camera, several(detect, workers), detect_every=every))
    assert [one.frame.index for one in moments] == list(range(N))
    for one, other in zip(moments, expected, strict=True):
        seen = [face for face in other.faces if face.seen]
        for face, twin in zip(one.faces, seen, strict=True):
            assert (face.track, face.box, face.score) == (twin.track, twin.box, twin.score)
            assert face.label == twin.label
            np.testing.assert_array_equal(face.probabilities, twin.probabilities)
            np.testing.assert_array_equal(face.raw, twin.raw)
    assert sum(together.batches) == sum(alone.batches)
    assert len(together.batches) < len(alone.batches) / 3


def test_a_detector_works_on_several_frames_at_a_time() -> None:
    meet = threading.Barrier(3, timeout=30)

    def together(image: np.ndarray) -> list[Detection]:
        meet.wait()
        return detect(image)

    with film(12) as camera:
        assert len(list(analyze(classify, camera, several(together, 3)))) == 12


def test_images_without_a_time_are_each_for_itself(tmp_path: Path) -> None:
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (60, 200, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    one_face: Callable = lambda _: [Detection(Box(5, 10, 40, 40), 0.9)]  # noqa: E731
    with Camera(tmp_path) as camera:
        apart = list(analyze(classify, camera, one_face, smooth_seconds=5))
    with Camera(tmp_path) as camera:
        joined = list(analyze(classify, camera, one_face, smooth_seconds=5, fps=10))
    assert [one.frame.position for one in apart] == [None] * 3
    assert [one.frame.position for one in joined] == [0, 0.1, 0.2]
    for one, other in zip(apart[1:], joined[1:], strict=True):
        assert (one.faces[0].probabilities == one.faces[0].raw).all()
        assert (other.faces[0].probabilities != other.faces[0].raw).any()


def test_images_without_a_time_are_looked_at_one_and_all(tmp_path: Path) -> None:
    for i in range(4):
        Image.new("RGB", (60, 60)).save(tmp_path / f"{i}.png")
    one_face: Callable = lambda _: [Detection(Box(5, 10, 40, 40), 0.9)]  # noqa: E731
    found = {}
    for fps in (None, 10):
        with Camera(tmp_path) as camera:
            moments = list(analyze(classify, camera, one_face, detect_every=3, fps=fps))
        found[fps] = [[face.score for face in moment.faces] for moment in moments]
    assert found == {None: [[0.9]] * 4, 10: [[0.9], [None], [None], [0.9]]}


def test_no_frame_and_no_face() -> None:
    with film(0) as camera:
        assert list(analyze(classify, camera, detect)) == []
    with film() as camera:
        moments = list(analyze(classify, camera, lambda _: []))
    assert [one.faces for one in moments] == [[]] * N


def test_what_fails_reaches_the_caller() -> None:
    def broken(_: np.ndarray) -> list[Detection]:
        raise InferenceError("out of memory")

    with film() as camera, pytest.raises(InferenceError, match="out of memory"):
        list(analyze(classify, camera, several(broken, 2)))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"detect_every": 0}, "detect_every must be at least 1"),
        ({"fps": 0}, "fps must be above 0"),
        ({"smooth_seconds": -1}, "Smoothing must be 0 seconds or more"),
    ],
)
def test_values_are_checked_at_once(options: dict, says: str) -> None:
    with film() as camera, pytest.raises(UsageError, match=says):
        analyze(classify, camera, detect, **options)


def test_a_live_camera_has_no_end() -> None:
    live = Camera(Source("live", True, lambda: Film(0)), reconnect=False)
    with live, pytest.raises(UsageError, match="live is live"):
        analyze(classify, live, detect)
