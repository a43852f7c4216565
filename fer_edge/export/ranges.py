"""From the observed magnitudes of a tensor to the range that its INT8 scale covers."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Method = Literal["minmax", "percentile", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)

BINS = 2048
LEVELS = 128
"""Magnitudes that a symmetric int8 tells apart."""
PERCENTILE = 99.99


class Magnitudes:
    """Histogram of absolute values that grows with its data.

    2048 bins over 0..``limit``; when a larger value comes, ``limit`` doubles and bins merge in
    pairs, so one pass over the data is enough.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.limit = 0.0
        self.maximum = 0.0

    def add(self, values: NDArray[np.floating]) -> None:
        """Count the magnitudes of an array of any shape."""
        magnitudes = np.abs(values, dtype=np.float32).ravel()
        maximum = float(magnitudes.max(initial=0.0))
        self.maximum = max(self.maximum, maximum)
        if maximum == 0.0:
            self.counts[0] += magnitudes.size
            return
        if self.limit == 0.0:
            self.limit = maximum
            merged = np.zeros(BINS, np.int64)
            merged[0] = self.counts[0]
            self.counts = merged
        while maximum > self.limit:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([pairs, np.zeros(BINS // 2, np.int64)])
            self.limit *= 2
        bins = (magnitudes * np.float32(BINS / self.limit)).astype(np.int64)
        self.counts += np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)

    def range(self, method: Method) -> float:
        """Largest magnitude that is represented; larger ones saturate.

        ``minmax`` covers everything seen. ``percentile`` covers 99.99 % of the values. ``entropy``
        covers the range whose quantised distribution is nearest to the observed one (Migacz,
        "8-bit Inference with TensorRT", GTC 2017).
        """
        if method == "minmax" or self.limit == 0.0:
            return self.maximum
        width = self.limit / BINS
        if method == "percentile":
            shares = np.cumsum(self.counts) / self.counts.sum()
            bins = int(np.searchsorted(shares, PERCENTILE / 100)) + 1
        else:
            bins = _least_divergence(self.counts)
        return min(bins * width, self.maximum)


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
