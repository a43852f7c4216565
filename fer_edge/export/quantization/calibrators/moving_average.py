"""The mean over batches of each one's largest magnitude, as ONNX Runtime's ``MinMaxCalibrater``."""

from fer_edge.export.quantization.calibrators.registry import calibrator
from fer_edge.export.quantization.magnitudes import Magnitudes


@calibrator("moving-average", histogram=False)
def moving_average(seen: Magnitudes) -> float:
    return seen.batch_maxima / seen.batches
