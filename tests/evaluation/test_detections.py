import numpy as np
import pytest

from fer_edge.evaluation.detections import agreement, average_precision, match, overlaps


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


FACES = boxes((0, 0, 10, 10), (20, 0, 30, 10))


def test_overlap_is_shared_over_joined():
    found = overlaps(boxes((0, 0, 10, 5), (5, 0, 15, 10), (0, 0, 0, 0)), FACES)
    np.testing.assert_allclose(found, [[0.5, 0], [1 / 3, 0], [0, 0]])


def test_each_face_is_covered_once_by_the_surest_box():
    found = match(boxes((0, 0, 10, 9), (0, 0, 10, 10), (20, 0, 30, 6), (50, 0, 60, 9)), FACES, 0.5)
    assert found.tolist() == [0, -1, 1, -1]
    assert match(boxes((0, 0, 10, 10)), FACES[:0], 0.5).tolist() == [-1]
    assert match(FACES[:0], FACES, 0.5).tolist() == []


def scores(*values):
    return np.array(values, np.float32)


def test_average_precision_is_the_area_under_the_best_precision():
    perfect = [(FACES, scores(0.9, 0.8))]
    assert average_precision(perfect, [FACES]) == 1
    # A false box between the two faces: precision 1 up to half, then 2/3.
    wrong = boxes((0, 0, 10, 10), (50, 0, 60, 10), (20, 0, 30, 10))
    assert average_precision([(wrong, scores(0.9, 0.8, 0.7))], [FACES]) == pytest.approx(5 / 6)
    # One that is less sure than all faces costs nothing.
    assert average_precision([(wrong[[0, 2, 1]], scores(0.9, 0.8, 0.7))], [FACES]) == 1
    # Half of the faces, in another frame.
    assert average_precision([(FACES, scores(0.9, 0.8)), (FACES[:0], scores())], [FACES] * 2) == 0.5
    assert average_precision([(FACES[:0], scores())], [FACES]) == 0


def test_agreement_counts_what_is_found_again_and_what_is_new():
    reference = [(FACES, scores(1, 1))]
    found = [(boxes((0, 0, 10, 8), (20, 0, 30, 6), (50, 0, 60, 10)), scores(1, 1, 1))]
    assert agreement(found, reference) == (2, 1, 2)
