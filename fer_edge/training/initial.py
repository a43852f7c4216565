"""The network that a training starts with."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from fer_edge.contract import Contract
from fer_edge.errors import ModelError
from fer_edge.models import build_model
from fer_edge.models.exported import start_from
from fer_edge.models.trained import load_trained
from fer_edge.models.trial import check_model
from fer_edge.training.config import TrainConfig
from fer_edge.training.depthwise import speed_up_depthwise
from fer_edge.training.growth import grow
from fer_edge.training.int8_weights import round_weights

_GROWTH_BATCH = 64
_MEASURED = 1024
"""Faces that tell the statistics of batch norms which an artifact does not have."""


def initial_network(
    config: TrainConfig,
    device: torch.device,
    faces: Callable[[int], Tensor],
    *,
    resume: bool,
    autocast: torch.autocast,
    on_grow: Callable[[int, int], None] | None = None,
) -> nn.Module:
    """Build the network of ``config`` with its first weights, on ``device``.

    Parameters
    ----------
    config : TrainConfig
    device : torch.device
    faces : callable(count) -> float32 tensor, shape (count, channels, H, W)
        Random training faces as the network will see them.
    resume : bool
        A checkpoint brings all weights: neither network nor file is needed.
    autocast : torch.autocast
    on_grow : callable(step, steps), optional
        Called while the network grows out of ``config.grow_from``.

    Raises
    ------
    ModelError
        The weights cannot be had or do not fit, or the network does not take such faces.
    """
    start = Path(config.weights) if config.weights and not resume else None
    artifact = start if start is not None and start.is_dir() else None
    network = build_model(
        config.model,
        config.contract,
        pretrained=config.pretrained and not resume,
        weights=start if artifact is None else None,
        new_head=config.new_head,
        dropout=config.dropout,
        drop_path=config.drop_path,
    )
    for size in {config.contract.size, config.initial_size or config.contract.size}:
        check_model(network, config.model, config.contract, size)
    network = network.to(device).to(memory_format=torch.channels_last)
    if config.grow_from and not resume:
        source = _source(Path(config.grow_from), config.contract).to(device)
        source = source.to(memory_format=torch.channels_last)
        grow(network, source, lambda: faces(_GROWTH_BATCH), autocast=autocast, on_step=on_grow)
    if artifact:
        start_from(network, artifact, faces(_MEASURED), new_head=config.new_head)
    # Before weights are rounded, which changes the classes of layers.
    speed_up_depthwise(network)
    if config.int8_weights:
        round_weights(network, config.contract)
    return network


def _source(path: Path, contract: Contract) -> nn.Module:
    source, known = load_trained(path)
    if known.color != contract.color:
        raise ModelError(
            f"{path} takes {known.color} faces, and this training has {contract.color}.",
            hint=f"Train with --color {known.color}.",
        )
    return source
