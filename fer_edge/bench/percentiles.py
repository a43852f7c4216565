"""Percentiles of times that are worth printing, and how well they are known."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

BEYOND = 10
"""Samples that have to lie beyond a percentile: a p99 takes 1,000 calls, a p90 100. With fewer, it
is little more than the largest value that chance brought."""


def enough_for(share: float) -> int:
    """How many samples the percentile ``share`` (0..1) takes."""
    return math.ceil(round(BEYOND / (1 - share), 6))


def percentile(values: ArrayLike, share: float) -> float | None:
    """The value that ``share`` (0..1) of ``values`` do not exceed; None of too few."""
    sorted_values = np.sort(np.asarray(values, np.float64))
    if len(sorted_values) < enough_for(share):
        return None
    return float(np.quantile(sorted_values, share))


def percentile_interval(values: ArrayLike, share: float) -> tuple[float, float]:
    """An interval of 95 % for a percentile, from the order of the values alone.

    The number of values below the true percentile is binomial; the normal approximation of it
    holds from the :data:`BEYOND` values on that :func:`percentile` asks for. Values that follow one
    another are taken as independent.
    """
    ordered: NDArray[np.float64] = np.sort(np.asarray(values, np.float64))
    n = len(ordered)
    reach = 1.959964 * math.sqrt(n * share * (1 - share))
    low = max(math.floor(n * share - reach), 0)
    high = min(math.ceil(n * share + reach), n - 1)
    return float(ordered[low]), float(ordered[high])


def mean_interval(means: Sequence[float]) -> tuple[float, float] | None:
    """An interval of 95 % for a mean, from the means of independent parts; None of fewer than two.

    Student's t, for up to 30 parts.
    """
    n = len(means)
    if n < 2:
        return None
    t = _T[min(n - 2, len(_T) - 1)]
    centre = float(np.mean(means))
    reach = t * float(np.std(means, ddof=1)) / math.sqrt(n)
    return centre - reach, centre + reach


_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045),
)
"""Quantiles of Student's t that leave 2.5 % above them, from one degree of freedom on."""
