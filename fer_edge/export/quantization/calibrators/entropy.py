"""The range whose quantised distribution is nearest to the observed one.

Migacz, "8-bit Inference with TensorRT", GTC 2017.
"""

import numpy as np
from numpy.typing import NDArray

from fer_edge.export.quantization.calibrators.registry import calibrator
from fer_edge.export.quantization.magnitudes import LEVELS, Magnitudes


@calibrator("entropy")
def entropy(seen: Magnitudes) -> float:
    return _least_divergence(seen.counts) * seen.width


def _least_divergence(counts: NDArray[np.int64]) -> int:
    """Number of bins to keep so that 128 levels lose least, in Kullback-Leibler divergence."""
    # Exact zeros, as ReLU makes them, are represented exactly whatever the range.
    histogram = counts.astype(np.float64)
    histogram[0] = 0.0
    total = histogram.sum()
    last = int(np.flatnonzero(histogram).max(initial=0)) + 1
    if total == 0.0 or last <= LEVELS:
        return max(last, 1)
    best, best_divergence = last, np.inf
    outliers = total - np.cumsum(histogram)
    for bins in range(LEVELS, last + 1):
        kept = histogram[:bins]
        reference = kept.copy()
        reference[-1] += outliers[bins - 1]
        edges = np.arange(LEVELS) * bins // LEVELS
        filled = kept > 0
        sums = np.add.reduceat(kept, edges)
        occupied = np.add.reduceat(filled.astype(np.float64), edges)
        means = np.divide(sums, occupied, out=np.zeros_like(sums), where=occupied > 0)
        sizes = np.diff(np.append(edges, bins))
        candidate = np.where(filled, np.repeat(means, sizes), 0.0)
        p, q = reference / total, candidate / max(candidate.sum(), 1e-12)
        support = p > 0
        if (q[support] == 0).any():
            q = np.where(support, np.maximum(q, 1e-10), q)
        divergence = float((p[support] * np.log(p[support] / q[support])).sum())
        if divergence < best_divergence:
            best, best_divergence = bins, divergence
    return best
