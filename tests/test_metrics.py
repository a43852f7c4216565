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
    precisions = metrics.precisions(matrix)
    assert precisions["angry"] == 1.0
    assert precisions["happy"] == precisions["neutral"] == 0.5
    assert math.isnan(precisions["sad"])
    # F1 = 2 TP / (support + predicted): angry 4/5, happy 2/4, neutral 2/3; the others do not occur.
    f1s = metrics.f1s(matrix)
    assert [f1s[name] for name in ("angry", "happy", "neutral")] == [4 / 5, 2 / 4, 2 / 3]
    assert math.isnan(f1s["fear"])
    assert metrics.macro_f1(matrix) == pytest.approx((4 / 5 + 2 / 4 + 2 / 3) / 3)


def test_an_emotion_only_predicted_counts_in_macro_f1():
    matrix = metrics.confusion_matrix(np.array([0, 0]), np.array([0, 1]))
    assert metrics.macro_f1(matrix) == pytest.approx((2 / 3 + 0) / 2)


def test_nothing_to_score_is_zero():
    empty = np.zeros((7, 7), np.int64)
    assert metrics.accuracy(empty) == 0.0
    assert metrics.macro_f1(empty) == 0.0


def test_what_an_emotion_is_taken_for_comes_in_order_of_its_share():
    truth = np.array([2] * 10 + [3])
    predicted = np.array([2, 2, 4, 4, 4, 4, 0, 6, 6, 6, 3])
    mistakes = metrics.taken_for(metrics.confusion_matrix(truth, predicted))
    assert list(mistakes["fear"].items()) == [("sad", 0.4), ("neutral", 0.3)]
    assert mistakes["happy"] == mistakes["angry"] == {}


def said(confidence: list[float], right: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, 7) whose largest is for happy, and labels."""
    largest = np.array(confidence)[:, None]
    probabilities = np.repeat((1 - largest) / 6, 7, axis=1)
    probabilities[:, 3:4] = largest
    return probabilities, np.where(right, 3, 0)


def test_calibration_by_hand():
    probabilities, labels = said([0.55, 0.6, 0.95, 1.0], [True, False, True, True])
    low, high = metrics.reliability(probabilities, labels, bins=10)
    assert (low.low, low.high, low.n, low.accuracy) == (0.5, 0.6, 2, 0.5)
    assert low.confidence == pytest.approx(0.575)
    assert (high.low, high.high, high.n, high.accuracy) == (0.9, 1.0, 2, 1.0)
    assert metrics.expected_calibration_error(probabilities, labels, bins=10) == pytest.approx(
        (2 * 0.075 + 2 * 0.025) / 4
    )


def test_sure_and_always_wrong_is_an_error_of_one():
    assert metrics.expected_calibration_error(*said([1.0] * 5, [False] * 5)) == 1.0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_labels_were_drawn_at_is_found(temperature):
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, (20_000, 7)).astype(np.float32)
    # The largest of logits plus Gumbel noise is a draw from their softmax.
    labels = (logits / temperature + generator.gumbel(size=logits.shape)).argmax(axis=1)
    fitted = metrics.fit_temperature(logits, labels)
    assert fitted == pytest.approx(temperature, rel=0.03)

    scaled = np.exp(logits / fitted)
    probabilities = scaled / scaled.sum(axis=1, keepdims=True)
    assert metrics.expected_calibration_error(probabilities, labels) < 0.015
    log_probabilities = np.log(probabilities)
    assert metrics.fit_temperature(log_probabilities, labels) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(("right", "bound"), [(True, 0.05), (False, 20.0)])
def test_a_temperature_that_would_run_away_is_bounded(right, bound):
    probabilities, labels = said([0.9] * 3, [right] * 3)
    assert metrics.fit_temperature(np.log(probabilities), labels) == pytest.approx(bound)


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


def test_labels_of_any_number_and_name():
    matrix = metrics.confusion_matrix(np.array([0, 0, 1]), np.array([0, 2, 1]), 3)
    assert matrix.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    labels = ("sad", "glad", "awe")
    assert metrics.recalls(matrix, labels) == pytest.approx(
        {"sad": 0.5, "glad": 1, "awe": np.nan}, nan_ok=True
    )
    assert metrics.taken_for(matrix, classes=labels)["sad"] == {"awe": 0.5}
    assert metrics.macro_f1(matrix, labels) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert metrics.macro_f1(matrix, labels, without=["awe"]) == pytest.approx((2 / 3 + 1) / 2)


def test_a_threshold_keeps_answers_that_are_right_as_often_as_wanted():
    # Right as often as confident, from 50 % to 100 %: at 90 %, answers above 80 % are kept.
    generator = np.random.default_rng(1)
    confidence = np.linspace(0.5, 1, 20_000)
    right = generator.random(20_000) < confidence
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    point = metrics.sure_point(probabilities, (~right).astype(int), 0.9)
    assert point.precision >= 0.9
    # A share of 12,000 has a standard error of 0.3 %, which is 0.6 % of confidence.
    assert point.threshold == pytest.approx(0.8, abs=0.02)
    assert point.coverage == pytest.approx(0.4, abs=0.04)


def test_where_answers_are_never_that_often_right_there_is_no_threshold():
    probabilities = np.tile([0.9, 0.1], (500, 1))
    labels = (np.arange(500) % 2).astype(int)
    assert metrics.sure_point(probabilities, labels, 0.8) is None
    assert metrics.sure_point(probabilities, labels, 0.5).coverage == 1
