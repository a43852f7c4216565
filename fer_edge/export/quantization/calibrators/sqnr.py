"""The range with the least noise beside the signal, in the mean over the samples.

Where a few samples have values many times those of all others, the least mean squared error of all
values together (:mod:`.mse`) is that of these few, and leaves a handful of steps to the rest. Here
each sample's error is taken in units of its own energy: the inverse of its signal-to-quantisation-
noise ratio. Rounding costs a twelfth of a step squared (Widrow et al. 1996, "Statistical theory of
quantization"), or the whole value where it is less than half a step.
"""

import numpy as np

from fer_edge.export.quantization.calibrators.registry import calibrator
from fer_edge.export.quantization.magnitudes import LEVELS, Magnitudes, fine_values

_SMALLEST_SHARE = 2.0**-12
"""Of the largest magnitude, down to which ranges are tried."""


@calibrator("sqnr", histogram=False)
def sqnr(seen: Magnitudes) -> float:
    values, weights = fine_values(), seen.relative
    there = np.flatnonzero(weights[1:]) + 1
    values, weights = values[there], weights[there]
    sums = [np.concatenate([[0.0], np.cumsum(weights * values**power)]) for power in range(3)]
    ranges = values[values >= seen.maximum * _SMALLEST_SHARE]
    steps = ranges / (LEVELS - 1)
    lost, kept = np.searchsorted(values, steps / 2), np.searchsorted(values, ranges, "right")
    beyond = [total[-1] - total[kept] for total in sums]
    cost = (
        sums[2][lost]
        + (sums[0][kept] - sums[0][lost]) * steps**2 / 12
        + beyond[2]
        - 2 * ranges * beyond[1]
        + ranges**2 * beyond[0]
    )
    return float(min(ranges[np.argmin(cost)], seen.maximum))
