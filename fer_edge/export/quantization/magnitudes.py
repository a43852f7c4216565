"""How large the values of a tensor are, from one pass over the data."""

import numpy as np
from numpy.typing import NDArray

BINS = 2048
LEVELS = 128
"""Magnitudes that a symmetric int8 tells apart."""


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

    @property
    def width(self) -> float:
        """Of a bin."""
        return self.limit / BINS

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
