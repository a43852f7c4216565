import numpy as np
import pytest

from fer_edge.pixels.boxes import Box
from fer_edge.runtime.tracking import Tracker, iou


def face(x: float, y: float = 0, side: float = 100) -> Box:
    return Box(x, y, side, side)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (face(0), face(0), 1),
        (face(0), face(50), 1 / 3),
        (face(0), face(100), 0),
        (face(0), face(25, 25, 50), 1 / 4),
    ],
)
def test_iou(a: Box, b: Box, expected: float) -> None:
    assert iou(a, b) == iou(b, a) == pytest.approx(expected)


def test_faces_keep_their_numbers_whatever_their_order() -> None:
    tracker = Tracker()
    left, right = tracker.update([face(0), face(300)], 0.0)
    assert tracker.update([face(305), face(4)], 0.03) == [right, left]


def test_the_better_pair_comes_first() -> None:
    tracker = Tracker()
    (old,) = tracker.update([face(0)], 0.0)
    newcomer, same = tracker.update([face(40), face(5)], 0.03)
    assert same == old
    assert newcomer != old


def test_a_fast_face_is_followed_by_its_velocity() -> None:
    tracker = Tracker()
    numbers = {tracker.update([face(40 * i)], 0.03 * i)[0] for i in range(6)}
    # Missed for five frames, it is 200 pixels further on: no overlap with where it was.
    numbers |= set(tracker.update([face(40 * 10)], 0.03 * 10))
    assert numbers == {0}


@pytest.mark.parametrize(("x", "same"), [(110, True), (150, False)])
def test_boxes_that_have_ceased_to_overlap(x: float, same: bool) -> None:
    tracker = Tracker()
    (first,) = tracker.update([face(0)], 0.0)
    assert (tracker.update([face(x)], 0.2) == [first]) is same


def test_a_face_that_comes_back_in_time_is_the_same_and_a_later_one_is_not() -> None:
    tracker = Tracker(max_gap=0.5)
    (first,) = tracker.update([face(0)], 0.0)
    assert tracker.update([], 0.2) == []
    assert tracker.update([face(0)], 0.4) == [first]
    assert tracker.update([face(0)], 1.0) != [first]
    assert tracker.alive == {first + 1}


def test_prediction_moves_on_and_leaves_out_who_was_not_found_last() -> None:
    tracker = Tracker()
    for i in range(30):
        boxes = [face(10.0 * i), face(500, 300)] if i < 29 else [face(10.0 * i)]
        tracker.update(boxes, 0.1 * i)
    predicted = tracker.predict(3.0)
    assert list(predicted) == [0]
    np.testing.assert_allclose(predicted[0].x, 300, atol=1)
    assert tracker.predict(100) == {}


def test_zero_faces_for_long_then_fifty_at_once() -> None:
    tracker = Tracker()
    for i in range(1000):
        assert tracker.update([], i / 30) == []
    crowd = [face(150 * i, 150 * j) for i in range(10) for j in range(5)]
    numbers = tracker.update(crowd, 40.0)
    assert sorted(numbers) == list(range(50))
    assert tracker.update(crowd[::-1], 40.03) == numbers[::-1]
