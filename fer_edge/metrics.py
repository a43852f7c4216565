"""Classification metrics and the paired test that compares two precisions of one model."""

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import EMOTIONS

Labels = NDArray[np.integer]


def confusion_matrix(truth: Labels, predicted: Labels) -> NDArray[np.int64]:
    """Counts, shape (7, 7): row = true label, column = predicted label."""
    n = len(EMOTIONS)
    return np.bincount(truth.astype(np.int64) * n + predicted, minlength=n * n).reshape(n, n)


def accuracy(matrix: NDArray[np.int64]) -> float:
    """Share of faces on the diagonal of a confusion matrix, 0..1."""
    return float(np.trace(matrix) / max(matrix.sum(), 1))


def recalls(matrix: NDArray[np.int64]) -> dict[str, float]:
    """Recall per emotion, 0..1; NaN for an emotion without faces."""
    totals = matrix.sum(axis=1)
    with np.errstate(invalid="ignore"):
        values = np.diag(matrix) / totals
    return dict(zip(EMOTIONS, map(float, values), strict=True))


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """Unweighted mean of F1 over the emotions that occur in truth or prediction, 0..1."""
    support = matrix.sum(axis=1) + matrix.sum(axis=0)
    present = support > 0
    if not present.any():
        return 0.0
    return float((2 * np.diag(matrix)[present] / support[present]).mean())


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
