"""The average of a training's weights, which is what is scored and published."""

from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage(AveragedModel):
    """An exponential moving average of a model's parameters and buffers.

    Its decay begins small, ``(1 + n) / (10 + n)`` after n steps, as that of TensorFlow's
    ``ExponentialMovingAverage(num_updates=n)``: in a training of few steps, such as one of 2,000
    faces, the first, random weights would else outweigh all others.

    Parameters
    ----------
    model : nn.Module
    decay : float
        Per step, once there are enough of them.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, multi_avg_fn=self._update, use_buffers=True)
        self.decay = decay

    def decay_after(self, steps: int) -> float:
        return min(self.decay, (1 + steps) / (10 + steps))

    def update_parameters(self, model: nn.Module) -> None:
        # Read where it is, on the CPU: what torch passes on is on the model's device.
        self._now = self.decay_after(int(self.n_averaged))
        super().update_parameters(model)

    def _update(self, *tensors: Any) -> None:
        get_ema_multi_avg_fn(self._now)(*tensors)
