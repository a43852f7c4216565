"""Learning rate as a pure function of the step, so that a resumed run needs no state for it."""

import math

from fer_edge.training.config import TrainConfig

WARM_UP = {"one-cycle": 0.25, "cosine": 0.02}
"""Share of the steps that the rate rises over."""


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """Rate at ``step`` of ``steps``: a rise to ``config.lr``, then a cosine to zero.

    ``one-cycle`` rises on a cosine over a quarter of the run (Smith and Topin 2017,
    arXiv:1708.07120); ``cosine`` (Loshchilov and Hutter 2016, arXiv:1608.03983) only warms up.
    """
    rise = WARM_UP[config.schedule] * steps
    if step < rise:
        return config.lr * (0.04 + 0.96 * (1 - math.cos(math.pi * step / rise)) / 2)
    return config.lr * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1))) / 2
