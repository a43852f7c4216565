"""How large the values of a tensor are, from one pass over the data."""

import numpy as np
from numpy.typing import NDArray

BINS = 2048
LEVELS = 128
"""Magnitudes that a symmetric int8 tells apart."""
_MANTISSA_BITS = 18
"""Of a float32's 23, those that its finer bin does not tell: 32 bins an octave are left."""
FINE_BINS = 1 << 31 - _MANTISSA_BITS


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
        self.relative = np.zeros(FINE_BINS)
        """Histogram in which every sample counts alike, whatever its values are: a value counts one
        over the sum of the squares of its sample. The bins are those of :func:`fine_values`."""

    @property
    def width(self) -> float:
        """Of a bin."""
        return self.limit / BINS

    def add(self, values: NDArray[np.floating]) -> None:
        """Count the magnitudes of one batch, an array of shape (samples, ...)."""
        magnitudes = np.abs(values, dtype=np.float32)
        for sample in magnitudes.reshape(len(magnitudes), -1):
            energy = float(np.dot(sample, sample))
            if energy > 0:
                fine = np.bincount(sample.view(np.uint32) >> _MANTISSA_BITS, minlength=FINE_BINS)
                self.relative += fine / energy
        magnitudes = magnitudes.ravel()
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


def fine_values() -> NDArray[np.float64]:
    """The middle of each bin of :attr:`Magnitudes.relative`; the last are no numbers."""
    edges = (np.arange(FINE_BINS + 1, dtype=np.uint32) << _MANTISSA_BITS).view(np.float32)
    with np.errstate(invalid="ignore"):
        middles = (edges[:-1].astype(np.float64) + edges[1:].astype(np.float64)) / 2
    middles[0] = 0.0
    return middles
