"""Activations: what import, calibration and INT8 have to know of each."""

import math
from typing import Final

Interval = tuple[float, float]

UNBOUNDED: Final[Interval] = (-math.inf, math.inf)

ACTIVATIONS: Final[dict[str, Interval]] = {
    "Relu": (0.0, math.inf),
    "LeakyRelu": UNBOUNDED,
    "Elu": UNBOUNDED,
    "Celu": UNBOUNDED,
    "Selu": UNBOUNDED,
    "Clip": UNBOUNDED,  # its bounds are its inputs': see fer_edge.export.graph.bounds.clamp
    "Erf": UNBOUNDED,
    "HardSigmoid": (0.0, 1.0),
    # The smallest x * clip(x / 6 + 1/2, 0, 1).
    "HardSwish": (-0.375, math.inf),
    "Mish": UNBOUNDED,
    "Sigmoid": (0.0, 1.0),
    "Softplus": UNBOUNDED,
    "Softsign": UNBOUNDED,
    "Tanh": UNBOUNDED,
}
"""ONNX operators of one input that work on each number alone, and the interval that what they give
cannot leave. An operator that is not here may be in a graph all the same, in floating point; one
that is may stand between transpositions that import takes out, and its interval makes the steps of
its INT8 scale finer where it tells which integers are never used."""
