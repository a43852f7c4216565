"""The range with the least mean squared error of the quantised values.

Choukroun et al. 2019, arXiv:1902.06822.
"""

import numpy as np
from numpy.typing import NDArray

from fer_edge.export.quantization.calibrators.registry import calibrator
from fer_edge.export.quantization.magnitudes import BINS, LEVELS, Magnitudes


@calibrator("mse")
def mse(seen: Magnitudes) -> float:
    return _least_squares(seen.counts) * seen.width


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
