"""Scales: one int8 step of a tensor or of a channel of weights.

All are float16 numbers, so that a graph cast to float16 for TensorRT quantises to the same integers
as the float32 one.
"""

import numpy as np
from numpy.typing import NDArray

SMALLEST_SCALE = 2.0**-14
"""Smallest normal float16."""
FLOAT16_MAX = 65504.0


def scale_of(largest: float) -> float:
    """Scale that covers magnitudes up to ``largest``: the next float16 from largest / 127."""
    scale = np.float16(max(largest / 127, SMALLEST_SCALE))
    if float(scale) * 127 < largest:
        scale = np.nextafter(scale, np.float16(np.inf))
    return float(scale)


def uneven(largest: float, extremes: tuple[float, float]) -> tuple[float, int]:
    """Scale and uint8 zero point that cover what lies between extremes of both signs.

    Magnitudes above ``largest`` saturate.
    """
    low, high = max(extremes[0], -largest), min(max(extremes[1], 0.0), largest)
    scale = scale_of((high - low) * 127 / 255)
    return scale, round(-low / scale)


def row_maxima(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest magnitude of each output channel (axis 0) of a weight."""
    found: NDArray[np.float32] = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    return found


def weight_scales(weights: NDArray[np.float32], axis: int = 0) -> NDArray[np.float32]:
    """Symmetric scale per output channel (``axis``) of a weight; all are float16 numbers."""
    largest = row_maxima(np.moveaxis(weights, axis, 0))
    scales = np.maximum(largest / 127, SMALLEST_SCALE).astype(np.float16)
    short = scales.astype(np.float32) * 127 < largest
    scales[short] = np.nextafter(scales[short], np.float16(np.inf))
    return scales.astype(np.float32)


def integers(
    weights: NDArray[np.float32], scales: NDArray[np.float32], axis: int = 0
) -> NDArray[np.int8]:
    """The weights in steps of the scale of their output channel (``axis``)."""
    steps = np.round(weights / per_channel(scales, weights.ndim, axis))
    return np.clip(steps, -127, 127).astype(np.int8)


def quantized_weights(weights: NDArray[np.float32], axis: int = 0) -> NDArray[np.float32]:
    """The weights as INT8 represents them, in float32 again."""
    scales = weight_scales(weights, axis)
    steps = integers(weights, scales, axis).astype(np.float32)
    return steps * per_channel(scales, weights.ndim, axis)


def per_channel(scales: NDArray[np.float32], dimensions: int, axis: int = 0) -> NDArray[np.float32]:
    """Scales shaped such that weights may be divided by them."""
    shape = [1] * dimensions
    shape[axis] = -1
    return scales.reshape(shape)
