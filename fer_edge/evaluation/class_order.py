"""Labels in the wrong order: the permutation under which a network's answers make sense."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEWEST = 100
"""Faces below which chance alone makes one of thousands of orders look good."""
_GAIN = 0.25
_ENOUGH = 0.3
"""Chance-corrected agreement (Cohen's kappa) that another order has to have, and to have more, to
be named. The best order of random answers to 100 faces of 7 classes stays below 0.2 (simulated)."""
_LARGEST = 12


def fitting_order(matrix: NDArray[np.integer], labels: Sequence[str]) -> tuple[str, ...] | None:
    """The labels in the order that fits a confusion matrix, where theirs fits far worse.

    Parameters
    ----------
    matrix : int array, shape (K, K)
        Faces by true label (row) and by the output that won (column).
    labels : sequence of str
        As the outputs are called.

    Returns
    -------
    tuple of str or None
        What to call the outputs instead; None where their names fit, or none would.
    """
    counts = np.asarray(matrix, np.int64)
    if counts.sum() < FEWEST or len(counts) > _LARGEST:
        return None
    order = _assignment(counts)
    if kappa(counts[order]) < max(kappa(counts) + _GAIN, _ENOUGH):
        return None
    return tuple(labels[row] for row in order)


def kappa(matrix: NDArray[np.integer]) -> float:
    """Agreement beyond chance: 1 is perfect, 0 is what the frequencies alone would give."""
    total = matrix.sum()
    chance = float((matrix.sum(axis=0) * matrix.sum(axis=1)).sum()) / total**2
    return (float(np.trace(matrix)) / total - chance) / (1 - chance) if chance < 1 else 0.0


def _assignment(counts: NDArray[np.int64]) -> list[int]:
    """For each output the label such that most faces agree; exact, over all subsets of labels."""
    n = len(counts)
    best = np.full(1 << n, -1, np.int64)
    taken = np.zeros(1 << n, np.int64)
    best[0] = 0
    for chosen in range(1 << n):
        output = chosen.bit_count()
        if best[chosen] < 0 or output == n:
            continue
        for label in range(n):
            wider = chosen | 1 << label
            if wider != chosen and best[chosen] + counts[label, output] > best[wider]:
                best[wider], taken[wider] = best[chosen] + counts[label, output], label
    order, chosen = [], (1 << n) - 1
    while chosen:
        order.append(int(taken[chosen]))
        chosen ^= 1 << order[-1]
    return order[::-1]
