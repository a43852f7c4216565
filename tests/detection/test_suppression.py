import warnings

import numpy as np
import pytest

from fer_edge.detection.suppression import MOST_CANDIDATES, surest


def test_of_boxes_on_one_face_the_surest_is_left() -> None:
    boxes = np.array(
        [(0, 0, 10, 10), (1, 1, 11, 11), (50, 50, 60, 60), (0, 0, 10, 10), (55, 50, 65, 60)],
        np.float32,
    )
    scores = np.array([0.8, 0.9, 0.7, 0.2, 0.95], np.float32)
    # The last and the third share a third of what they cover together.
    assert surest(boxes, scores, min_score=0.5, max_iou=0.4).tolist() == [4, 1, 2]
    assert surest(boxes, scores, min_score=0.5, max_iou=0.3).tolist() == [4, 1]
    assert surest(boxes, scores, min_score=0.96, max_iou=0.4).tolist() == []


def test_the_same_as_one_pair_after_another() -> None:
    rng = np.random.default_rng(4)
    corners = rng.uniform(0, 100, (300, 2))
    boxes = np.hstack([corners, corners + rng.uniform(5, 40, (300, 2))]).astype(np.float32)
    scores = rng.uniform(0, 1, 300).astype(np.float32)

    def iou(a: np.ndarray, b: np.ndarray) -> float:
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        shared = max(width, 0.0) * max(height, 0.0)
        return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)

    kept: list[int] = []
    for i in np.argsort(-scores):
        if scores[i] >= 0.3 and all(iou(boxes[i], boxes[j]) <= 0.4 for j in kept):
            kept.append(int(i))
    assert surest(boxes, scores, min_score=0.3, max_iou=0.4).tolist() == kept


def test_boxes_that_are_none_are_left_out_without_a_warning() -> None:
    large = np.finfo(np.float32).max
    boxes = np.array(
        [
            (0, 0, np.inf, 9), (0, np.nan, 9, 9), (5, 5, 5, 9), (9, 9, 0, 0),
            (-large, -large, large, large), (0, 0, 9, 9),
        ],
        np.float32,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = surest(boxes, np.linspace(1, 0.9, 6, dtype=np.float32), min_score=0, max_iou=0.4)
    assert found.tolist() == [4, 5]


@pytest.mark.parametrize("number", [0, 1, 3 * MOST_CANDIDATES])
def test_any_number_of_candidates(number: int) -> None:
    boxes = np.tile(np.array([0, 0, 9, 9], np.float32), (number, 1))
    found = surest(boxes, np.ones(number, np.float32), min_score=0.5, max_iou=0.4)
    assert len(found) == min(number, 1)
