"""Whether a network takes the faces that it is to be trained on."""

import torch
from torch import Tensor, nn

from fer_edge.contract import COLOR_NAMES, Contract
from fer_edge.errors import ModelError, UsageError, first_line


@torch.no_grad()
def check_model(model: nn.Module, name: str, contract: Contract, size: int | None = None) -> None:
    """Run a network on two black faces, in evaluation mode, which leaves it as it was.

    Parameters
    ----------
    model : torch.nn.Module
    name : str
        In messages.
    contract : Contract
        What it is to take and give.
    size : int, optional
        Side of the faces where training shows it others than the contract's.

    Raises
    ------
    UsageError
        It does not run on faces of that size and colour.
    ModelError
        It gives something else than a row of logits for each face.
    """
    side = size or contract.size
    where = next(model.parameters(), torch.empty(0)).device
    training = model.training
    try:
        found = model.eval()(torch.zeros((2, contract.channels, side, side), device=where))
    except Exception as error:  # a module may raise anything
        raise UsageError(
            f"{name} cannot take {COLOR_NAMES[contract.color]} faces of {side}x{side}: "
            f"{first_line(error)}.",
            hint="Train it at the size and in the colour that it is made for, or a network that "
            "pools before its linear layers.",
        ) from error
    finally:
        model.train(training)
    if not isinstance(found, Tensor) or found.shape != (2, len(contract.labels)):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ModelError(
            f"{name} gives {shape} for 2 faces, not a row of {len(contract.labels)} logits each: "
            f"{', '.join(contract.labels)}.",
            hint="Correct its last layer.",
        )
