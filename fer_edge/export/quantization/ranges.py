"""From the observed magnitudes of a tensor to the range that its INT8 scale covers."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Method = Literal["minmax", "moving-average", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)
HISTOGRAM_METHODS = ("percentile", "entropy", "mse")

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
        self.batch_maxima = 0.0
        """Sum over the batches of each batch's largest magnitude."""
        self.batches = 0
        self.extremes = (np.inf, -np.inf)
        """Smallest and largest value, signed."""

    def add(self, values: NDArray[np.floating]) -> None:
        """Count the magnitudes of one batch, an array of any shape."""
        magnitudes = np.abs(values, dtype=np.float32).ravel()
        maximum = float(magnitudes.max(initial=0.0))
        self.maximum = max(self.maximum, maximum)
        self.batch_maxima += maximum
        self.batches += 1
        low, high = self.extremes
        self.extremes = min(low, float(values.min())), max(high, float(values.max()))
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

        ``minmax``
            Everything seen.
        ``moving-average``
            The mean over batches of each one's largest magnitude, as ``moving_average`` of ONNX
            Runtime's ``MinMaxCalibrater``.
        ``percentile``
            99.99 % of the values (Wu et al. 2020, arXiv:2004.09602).
        ``entropy``
            The range whose quantised distribution is nearest to the observed one (Migacz, "8-bit
            Inference with TensorRT", GTC 2017).
        ``mse``
            The range with the least mean squared error of the quantised values (Choukroun et al.
            2019, arXiv:1902.06822).
        """
        if method == "minmax" or self.limit == 0.0:
            return self.maximum
        if method == "moving-average":
            return self.batch_maxima / self.batches
        width = self.limit / BINS
        if method == "percentile":
            shares = np.cumsum(self.counts) / self.counts.sum()
            bins = int(np.searchsorted(shares, PERCENTILE / 100)) + 1
        elif method == "entropy":
            bins = _least_divergence(self.counts)
        else:
            bins = _least_squares(self.counts)
        return min(bins * width, self.maximum)


def _least_squares(counts: NDArray[np.int64]) -> int:
    """Number of bins to keep so that rounding and saturation together cost least."""
    last = int(np.flatnonzero(counts).max(initial=0)) + 1
    values = np.arange(BINS) + 0.5
    # Exact zeros, as ReLU makes them, cost nothing whatever the range.
    weights = counts.astype(np.float64)
    weights[0] = 0.0
    candidates = np.arange(min(LEVELS, last), last + 1, max(1, last // 256))
    best, least = last, np.inf
    for bins in candidates:
        step = bins / (LEVELS - 1)
        error = values - np.minimum(np.round(values / step), LEVELS - 1) * step
        cost = float(weights @ error**2)
        if cost < least:
            best, least = int(bins), cost
    return best


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
