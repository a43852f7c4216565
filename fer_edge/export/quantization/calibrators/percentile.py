"""All but the largest values (Wu et al. 2020, arXiv:2004.09602)."""

import numpy as np

from fer_edge.export.quantization.calibrators.registry import calibrator
from fer_edge.export.quantization.magnitudes import Magnitudes

PERCENTILE = 99.99


@calibrator("percentile")
def percentile(seen: Magnitudes) -> float:
    shares = np.cumsum(seen.counts) / seen.counts.sum()
    return (int(np.searchsorted(shares, PERCENTILE / 100)) + 1) * seen.width
