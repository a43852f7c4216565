"""Dropout and stochastic depth of models that are built already."""

import re
from functools import partial

from torch import Tensor, nn
from torchvision.ops import stochastic_depth

from fer_edge.errors import UsageError
from fer_edge.models.registry import MODELS, ModelSpec


def set_dropout(model: nn.Module, name: str, rate: float) -> None:
    """Give every dropout layer of ``model`` the same rate.

    Raises
    ------
    UsageError
        The rate is not in [0, 1), or the model called ``name`` has no dropout.
    """
    _check_rate("dropout", rate)
    layers = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    if not layers:
        raise UsageError(f"{name} has no dropout to set.", hint="Drop --dropout.")
    for layer in layers:
        layer.p = rate


def set_drop_path(model: nn.Module, spec: ModelSpec, rate: float) -> None:
    """Skip residual branches by chance in training: the first never, the last at ``rate``.

    Hooks do it, so the names of the tensors stay as they are.

    Raises
    ------
    UsageError
        The rate is not in [0, 1), or the model has no residual branches.
    """
    _check_rate("drop-path", rate)
    if spec.residual_branch is None:
        residual = ", ".join(s.name for s in MODELS.values() if s.residual_branch)
        raise UsageError(
            f"{spec.name} has no residual branches to drop.",
            hint=f"Drop --drop-path, or choose from {residual}.",
        )
    pattern = re.compile(spec.residual_branch)
    ends = [module for path, module in model.named_modules() if pattern.fullmatch(path)]
    for index, end in enumerate(ends):
        end.register_forward_hook(partial(_drop, rate * index / (len(ends) - 1)))


def _drop(rate: float, module: nn.Module, _: tuple[Tensor, ...], branch: Tensor) -> Tensor:
    return stochastic_depth(branch, rate, "row", module.training)


def _check_rate(name: str, rate: float) -> None:
    if not 0 <= rate < 1:
        raise UsageError(f"--{name} {rate}: must be at least 0 and less than 1.")
