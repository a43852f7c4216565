"""Classification metrics, calibration of probabilities, and McNemar's paired test."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import EMOTIONS

SIGNIFICANT = 0.05
"""McNemar's p below which a difference is called real."""
AGREEMENT = 0.95
"""Share of fp32's labels that a precision keeps at least. Where it changes many, a test of its
accuracy finds little, as what it wins and what it loses cancel."""

Labels = NDArray[np.integer]
Probabilities = NDArray[np.floating]


def confusion_matrix(truth: Labels, predicted: Labels, n: int = len(EMOTIONS)) -> NDArray[np.int64]:
    """Counts, shape (n, n) of n labels: row = true label, column = predicted label."""
    return np.bincount(truth.astype(np.int64) * n + predicted, minlength=n * n).reshape(n, n)


def accuracy(matrix: NDArray[np.int64]) -> float:
    """Share of faces on the diagonal of a confusion matrix, 0..1."""
    return float(np.trace(matrix) / max(matrix.sum(), 1))


def standard_error(accuracy: float, n: int) -> float:
    """Binomial standard error of an accuracy measured on ``n`` faces, 0..1."""
    return math.sqrt(accuracy * (1 - accuracy) / n)


def wilson_interval(right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share measured on ``n`` faces, 0..1.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference". Near 0 and
    1, and for small n, it covers what the standard error does not.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = right / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(centre - reach, 0.0), min(centre + reach, 1.0)


def difference_interval(
    first: tuple[int, int], second: tuple[int, int], confidence: float = 0.95
) -> tuple[float, float]:
    """Interval for the difference of two shares, each (right, n) of other faces, -1..1.

    Newcombe 1998, "Interval estimation for the difference between independent proportions:
    comparison of eleven methods", method 10.
    """
    p, q = (right / n for right, n in (first, second))
    low_p, high_p = wilson_interval(*first, confidence)
    low_q, high_q = wilson_interval(*second, confidence)
    below = math.hypot(p - low_p, high_q - q)
    above = math.hypot(high_p - p, q - low_q)
    return p - q - below, p - q + above


def precisions(matrix: NDArray[np.int64], classes: Sequence[str] = EMOTIONS) -> dict[str, float]:
    """Precision per emotion, 0..1; NaN for an emotion that was never predicted."""
    return _named(classes, np.diag(matrix), matrix.sum(axis=0))


def recalls(matrix: NDArray[np.int64], classes: Sequence[str] = EMOTIONS) -> dict[str, float]:
    """Recall per emotion, 0..1; NaN for an emotion without faces."""
    return _named(classes, np.diag(matrix), matrix.sum(axis=1))


def f1s(matrix: NDArray[np.int64], classes: Sequence[str] = EMOTIONS) -> dict[str, float]:
    """F1 per emotion, 0..1; NaN for one that occurs in neither truth nor prediction."""
    return _named(classes, 2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1))


def macro_f1(
    matrix: NDArray[np.int64], classes: Sequence[str] = EMOTIONS, without: Collection[str] = ()
) -> float:
    """Unweighted mean of F1 over the emotions that occur in truth or prediction, 0..1.

    Those of ``without`` do not count, of which the data know nothing.
    """
    found = f1s(matrix, classes).items()
    values = [value for name, value in found if name not in without and not np.isnan(value)]
    return float(np.mean(values)) if values else 0.0


def taken_for(
    matrix: NDArray[np.int64], most: int = 2, classes: Sequence[str] = EMOTIONS
) -> dict[str, dict[str, float]]:
    """For each emotion the ``most`` others that its faces were mistaken for, most often first.

    Values are shares of the emotion's faces, 0..1; emotions without mistakes have none.
    """
    mistakes = {}
    for i, emotion in enumerate(classes):
        wrong = matrix[i].copy()
        wrong[i] = 0
        order = np.argsort(-wrong, kind="stable")[:most]
        total = int(matrix[i].sum())
        mistakes[emotion] = {classes[j]: int(wrong[j]) / total for j in order if wrong[j]}
    return mistakes


@dataclass(frozen=True)
class ReliabilityBin:
    """Faces whose confidence, the largest probability, is above ``low`` and at most ``high``."""

    low: float
    high: float
    n: int
    confidence: float
    """Mean confidence, 0..1."""
    accuracy: float
    """Share that was right, 0..1."""


def reliability(
    probabilities: Probabilities, labels: Labels, bins: int = 15
) -> list[ReliabilityBin]:
    """Confidence against accuracy in ``bins`` bins of equal width; empty ones are left out.

    Parameters
    ----------
    probabilities : float array, shape (N, labels)
    labels : int array, shape (N,)

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return [
        ReliabilityBin(
            low=i / bins,
            high=(i + 1) / bins,
            n=int(inside.sum()),
            confidence=float(confidence[inside].mean()),
            accuracy=float(right[inside].mean()),
        )
        for i in range(bins)
        if (inside := index == i).any()
    ]


def expected_calibration_error(
    probabilities: Probabilities, labels: Labels, bins: int = 15
) -> float:
    """Mean distance of confidence from accuracy over the bins of :func:`reliability`, 0..1.

    Bins weigh as much as they have faces (Guo et al. 2017, Eq. 3).
    """
    filled = reliability(probabilities, labels, bins)
    return sum(bin_.n * abs(bin_.accuracy - bin_.confidence) for bin_ in filled) / max(
        len(labels), 1
    )


def fit_temperature(logits: Probabilities, labels: Labels) -> float:
    """Temperature T that minimises the cross-entropy of ``softmax(logits / T)``, 0.05..20.

    Labels never change: T only makes probabilities more (T < 1) or less (T > 1) confident.

    Parameters
    ----------
    logits : float array, shape (N, labels)
        Logarithms of probabilities serve as well.
    labels : int array, shape (N,)
        At least one.

    References
    ----------
    Guo et al. 2017, arXiv:1706.04599, Section 4.2.
    """
    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    true = z[np.arange(len(z)), labels]
    coldest, hottest = 0.05, 20.0
    # Cross-entropy is convex in 1 / T, so that its slope there changes sign once.
    for _ in range(40):
        middle = float(np.sqrt(coldest * hottest))
        powers = np.exp(z / middle)
        expected = (powers * z).sum(axis=1) / powers.sum(axis=1)
        if (expected - true).mean() > 0:
            coldest = middle
        else:
            hottest = middle
    return float(np.sqrt(coldest * hottest))


@dataclass(frozen=True)
class SurePoint:
    """Answers that are kept: those whose probability is at least ``threshold``."""

    wanted: float
    """Share of kept answers that should be right, 0..1."""
    threshold: float
    coverage: float
    """Share of answers that are kept."""
    precision: float
    """Share of kept answers that are right."""


_FEWEST_KEPT = 100


def sure_point(probabilities: Probabilities, labels: Labels, wanted: float) -> SurePoint | None:
    """The lowest threshold from which on at least ``wanted`` (0..1) of the answers are right.

    Selective classification by the largest probability (Geifman and El-Yaniv 2017,
    arXiv:1705.08500). None where no threshold with at least 100 answers above it gives that.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    right = (probabilities.argmax(axis=1) == labels)[order]
    kept = np.arange(1, len(order) + 1)
    precision = np.cumsum(right) / kept
    # Answers of one confidence are kept together.
    last = np.append(confidence[order][1:] < confidence[order][:-1], True)
    good = (precision >= wanted) & (kept >= _FEWEST_KEPT) & last
    if not good.any():
        return None
    # Above the threshold, stricter ones hold, too: the first that fails ends it.
    fails = (precision < wanted) & (kept >= _FEWEST_KEPT) & last
    first_failure = int(np.argmax(fails)) if fails.any() else len(order)
    good[first_failure:] = False
    if not good.any():
        return None
    at = int(np.flatnonzero(good)[-1])
    return SurePoint(
        wanted, float(confidence[order][at]), float(kept[at] / len(order)), float(precision[at])
    )


def mcnemar_p(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> float:
    """Exact two-sided McNemar p-value for two classifiers on the same faces.

    Parameters
    ----------
    first_right, second_right : bool arrays, shape (N,)
        Where each classifier was right.

    References
    ----------
    McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947); the exact form is the sign test on discordant pairs.
    """
    first_only = int((first_right & ~second_right).sum())
    second_only = int((~first_right & second_right).sum())
    n = first_only + second_only
    tail = ways = 1
    for k in range(min(first_only, second_only)):
        ways = ways * (n - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**n)


def _named(
    classes: Sequence[str], counts: NDArray[np.int64], totals: NDArray[np.int64]
) -> dict[str, float]:
    with np.errstate(invalid="ignore"):
        return dict(zip(classes, map(float, counts / totals), strict=True))
