"""Learning rate as a pure function of the step, so that a resumed run needs no state for it."""

import math

from fer_edge.training.config import TrainConfig

WARM_UP = {"one-cycle": 0.25, "cosine": 0.02}
"""Share of the steps that the rate rises over."""


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """Rate at ``step`` of ``steps``: a rise to ``config.rate``, then a cosine to zero.

    ``one-cycle`` rises on a cosine over a quarter of the run (Smith and Topin 2017,
    arXiv:1708.07120); ``cosine`` (Loshchilov and Hutter 2016, arXiv:1608.03983) only warms up.
    """
    rise = WARM_UP[config.schedule] * steps
    if step < rise:
        return config.rate * (0.04 + 0.96 * (1 - math.cos(math.pi * step / rise)) / 2)
    return config.rate * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1))) / 2


FULL_SIZE = 0.7
"""Share of the epochs after which faces have their full size."""
_SIZE_STEP = 8


def face_size(config: TrainConfig, epoch: int, full: int) -> int:
    """Side in pixels of the faces in ``epoch`` (from 0): from ``config.initial_size`` up
    to ``full``.

    Progressive resizing, as in fastai and Tan and Le 2021 (arXiv:2104.00298), section 4.
    """
    share = min(epoch / (FULL_SIZE * config.epochs), 1.0)
    initial = config.initial_size or full
    size = initial + share * (full - initial)
    if share == 1 or initial == full:
        return full
    return max(int(size) // _SIZE_STEP * _SIZE_STEP, initial)
