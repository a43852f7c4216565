"""Everything seen."""

from fer_edge.export.quantization.calibrators.registry import calibrator
from fer_edge.export.quantization.magnitudes import Magnitudes


@calibrator("minmax", histogram=False)
def minmax(seen: Magnitudes) -> float:
    return seen.maximum
