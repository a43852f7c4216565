import math
from fractions import Fraction

import numpy as np
import pytest

from fer_edge import metrics

TRUTH = np.array([0, 0, 0, 3, 3, 6])
PREDICTED = np.array([0, 0, 3, 3, 6, 6])


def test_confusion_matrix_has_truth_in_rows():
    matrix = metrics.confusion_matrix(TRUTH, PREDICTED)
    assert matrix.shape == (7, 7)
    assert {(int(r), int(c)): int(matrix[r, c]) for r, c in np.argwhere(matrix)} == {
        (0, 0): 2,
        (0, 3): 1,
        (3, 3): 1,
        (3, 6): 1,
        (6, 6): 1,
    }


def test_confusion_matrix_of_narrow_dtypes_does_not_overflow():
    many = np.full(1000, 6, np.uint8)
    assert metrics.confusion_matrix(many, many)[6, 6] == 1000


def test_accuracy_recall_and_f1_by_hand():
    matrix = metrics.confusion_matrix(TRUTH, PREDICTED)
    recalls = metrics.recalls(matrix)
    assert metrics.accuracy(matrix) == pytest.approx(4 / 6)
    assert recalls["angry"] == pytest.approx(2 / 3)
    assert recalls["happy"] == pytest.approx(1 / 2)
    assert recalls["neutral"] == 1.0
    assert math.isnan(recalls["disgust"])
    # F1 = 2 TP / (support + predicted): angry 4/5, happy 2/4, neutral 2/3; the others do not occur.
    assert metrics.macro_f1(matrix) == pytest.approx((4 / 5 + 2 / 4 + 2 / 3) / 3)


def test_an_emotion_only_predicted_counts_in_macro_f1():
    matrix = metrics.confusion_matrix(np.array([0, 0]), np.array([0, 1]))
    assert metrics.macro_f1(matrix) == pytest.approx((2 / 3 + 0) / 2)


def test_nothing_to_score_is_zero():
    empty = np.zeros((7, 7), np.int64)
    assert metrics.accuracy(empty) == 0.0
    assert metrics.macro_f1(empty) == 0.0


def rights(first_only: int, second_only: int, both: int = 5) -> tuple[np.ndarray, np.ndarray]:
    first = [True] * first_only + [False] * second_only + [True] * both
    second = [False] * first_only + [True] * second_only + [True] * both
    return np.array(first), np.array(second)


@pytest.mark.parametrize(
    ("first_only", "second_only", "p"),
    [(0, 0, 1.0), (0, 5, 2 / 32), (1, 5, 14 / 64), (5, 1, 14 / 64), (3, 3, 1.0)],
)
def test_mcnemar_by_hand(first_only, second_only, p):
    assert metrics.mcnemar_p(*rights(first_only, second_only)) == pytest.approx(p, rel=1e-12)


def test_mcnemar_is_the_binomial_sign_test_for_many_pairs():
    b, c = 700, 800
    closed = Fraction(2 * sum(math.comb(b + c, k) for k in range(b + 1)), 2 ** (b + c))
    assert metrics.mcnemar_p(*rights(b, c)) == pytest.approx(float(closed), rel=1e-12)
