"""Growing a ResNet-50 out of a trained compact, so that training starts where compact ended.

Every stage of compact fits into one of ResNet-50 exactly: a block of two 3x3 convolutions becomes
two bottlenecks whose 1x1 convolutions only select channels. Channels and blocks left over start at
random, without a say in the result (Chen et al. 2016, arXiv:1511.05641; Wei et al. 2016,
arXiv:1603.01670). The first stage of compact sees the face at a resolution that ResNet-50 never
has: stem and first stage of ResNet-50 are fitted to its output (Romero et al. 2015,
arXiv:1412.6550).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.optim.lr_scheduler import OneCycleLR
from torchvision.models.resnet import Bottleneck, ResNet

from fer_edge.errors import ModelError
from fer_edge.models.compact import Block, Compact
from fer_edge.models.gray import GrayInput

STEPS = 2000
"""Steps of the fit of the stem."""
RATE = 3e-3
TAIL = 1e-3
"""Share of the values that may be cut off where a ReLU stands between two parts of a sum."""

Batches = Callable[[], Tensor]
"""Draws normalised, augmented faces: float32 (N, 1, 48, 48)."""


def grow(
    model: nn.Module,
    source: nn.Module,
    faces: Batches,
    *,
    steps: int = STEPS,
    autocast: torch.autocast,
    on_step: Callable[[int, int], None] | None = None,
) -> None:
    """Make ``model`` compute what ``source`` does, in place.

    Parameters
    ----------
    model : torch.nn.Module
        A ResNet-50 of the registry, freshly initialised.
    source : torch.nn.Module
        A trained compact.
    faces : callable() -> float32 tensor, shape (N, 1, 48, 48)
        What the networks will see in training; called ``steps`` times and once more.
    steps : int
        Of the fit of stem and first stage.
    autocast : torch.autocast
    on_step : callable(step, steps), optional

    Raises
    ------
    ModelError
        Two models that this is not made for.
    """
    if not (
        isinstance(source, Compact)
        and isinstance(model, GrayInput)
        and isinstance(network := model.network, ResNet)
        and _fits(source, network)
    ):
        raise ModelError(
            "Only a ResNet-50 can grow, and only from a compact.",
            hint="Train resnet50, and name best.safetensors or an artifact of a compact.",
        )
    source.eval()
    _fit_stem(network, source, faces, steps, autocast, on_step)
    with torch.no_grad():
        _embed(network, source, faces())


def _fits(source: Compact, network: ResNet) -> bool:
    layers = (network.layer2, network.layer3, network.layer4)
    return all(
        isinstance(layer[0], Bottleneck) and len(layer) >= 2 * len(blocks)
        for layer, blocks in zip(layers, _stages(source), strict=True)
    )


def _stages(source: Compact) -> list[list[Block]]:
    """Blocks of compact by stage, without the first stage; a stage begins where the size halves."""
    stages: list[list[Block]] = []
    for block in source.stages:
        assert isinstance(block, Block)
        if _pair(block.residual, 0)[0].stride == (2, 2):
            stages.append([])
        stages[-1].append(block)
    return stages[1:]


def _fit_stem(
    network: ResNet,
    source: Compact,
    faces: Batches,
    steps: int,
    autocast: torch.autocast,
    on_step: Callable[[int, int], None] | None,
) -> None:
    """Fit stem and first stage of ``network``: its first channels become those of ``source``."""
    student = nn.Sequential(network.conv1, network.bn1, network.relu, network.layer1).train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE)
    schedule = OneCycleLR(optimizer, RATE, total_steps=max(steps, 2))
    for step in range(steps):
        batch = faces().contiguous(memory_format=torch.channels_last)
        with autocast:
            with torch.no_grad():
                wanted = source.stages[0](source.stem(batch)).float()
            got = student(batch.expand(-1, 3, -1, -1))[:, : wanted.shape[1]].float()
        spread = wanted.std((0, 2, 3), keepdim=True) + 1e-3
        loss = functional.mse_loss(got / spread, wanted / spread)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if on_step:
            on_step(step + 1, steps)


@dataclass
class _Exact:
    """Channels of a batch norm that add ``bias`` and do nothing else; the others normalise."""

    mask: Tensor
    bias: Tensor


def _embed(network: ResNet, source: Compact, faces: Tensor) -> None:
    """Put all stages of ``source`` but the first, and its classifier, into ``network``."""
    exact: dict[nn.BatchNorm2d, _Exact] = {}
    x = source.stages[0](source.stem(faces))
    layers = (network.layer2, network.layer3, network.layer4)
    for layer, blocks in zip(layers, _stages(source), strict=True):
        for index, block in enumerate(blocks):
            branch, skip = block.residual(x), block.skip(x)
            _embed_block(
                layer[2 * index],
                layer[2 * index + 1],
                block,
                hidden=(1 + index) * branch.shape[1],
                reserved=(1 + len(blocks)) * branch.shape[1],
                offsets=(_offset(branch), _offset(skip)),
                exact=exact,
            )
            x = block.relu(branch + skip)
        for unused in layer[2 * len(blocks) :]:
            nn.init.zeros_(unused.bn3.weight)
    nn.init.zeros_(network.fc.weight)
    network.fc.weight[:, : source.classifier.in_features] = source.classifier.weight
    network.fc.bias.copy_(source.classifier.bias)
    _calibrate(network, exact, faces)


def _embed_block(
    first: Bottleneck,
    second: Bottleneck,
    block: Block,
    *,
    hidden: int,
    reserved: int,
    offsets: tuple[Tensor, Tensor],
    exact: dict[nn.BatchNorm2d, _Exact],
) -> None:
    """Put a block into two bottlenecks. The first leaves its hidden layer, from channel ``hidden``
    on, to the second. ``reserved`` channels have no other use in this stage.

    A ReLU stands behind the skip of the first and behind the branch of the second: offsets keep
    both above zero, and the second takes them away again.
    """

    def put(
        conv: nn.Conv2d, norm: nn.BatchNorm2d, weight: Tensor, bias: Tensor, *, row: int = 0
    ) -> None:
        rows, columns = weight.shape[:2]
        known = exact.setdefault(
            norm, _Exact(torch.zeros_like(norm.bias, dtype=torch.bool), torch.zeros_like(norm.bias))
        )
        conv.weight[row : row + rows] = 0
        conv.weight[row : row + rows, :columns] = weight
        known.mask[row : row + rows] = True
        known.bias[row : row + rows] = bias

    def select(conv: nn.Conv2d, norm: nn.BatchNorm2d, row: int, column: int, count: int) -> None:
        put(conv, norm, conv.weight.new_zeros(count, column + count, 1, 1), zero, row=row)
        channels = torch.arange(count)
        conv.weight[row + channels, column + channels] = 1

    convolution, norm = _pair(block.residual, 0)
    inputs, width = convolution.in_channels, convolution.out_channels
    branch_offset, skip_offset = offsets
    zero = skip_offset.new_zeros(())
    nothing = first.conv3.weight.new_zeros(reserved, 1, 1, 1)

    select(first.conv1, first.bn1, 0, 0, inputs)
    put(first.conv2, first.bn2, *_folded(convolution, norm))
    put(first.conv3, first.bn3, nothing, zero)
    select(first.conv3, first.bn3, hidden, 0, width)
    if isinstance(block.skip, nn.Sequential):
        assert first.downsample is not None
        weight, bias = _folded(*_pair(block.skip, 0))
        convolution, norm = _pair(first.downsample, 0)
        put(convolution, norm, nothing, zero)
        put(convolution, norm, weight, bias + skip_offset)
    else:
        skip_offset = zero

    select(second.conv1, second.bn1, 0, hidden, width)
    weight, bias = _folded(*_pair(block.residual, 3))
    put(second.conv2, second.bn2, weight, bias + branch_offset)
    put(second.conv3, second.bn3, nothing, zero)
    select(second.conv3, second.bn3, 0, 0, width)
    exact[second.bn3].bias[:width] = -branch_offset - skip_offset


def _pair(modules: nn.Sequential, index: int) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    convolution, norm = modules[index], modules[index + 1]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return convolution, norm


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with its batch norm inside."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )


def _offset(values: Tensor) -> Tensor:
    """What each channel of (N, C, H, W) needs to stay above zero, but for a tail."""
    return -values.transpose(0, 1).flatten(1).quantile(TAIL, dim=1).clamp(max=0)


def _calibrate(network: ResNet, exact: dict[nn.BatchNorm2d, _Exact], faces: Tensor) -> None:
    """Give batch norms the statistics of their inputs, so that training mode computes alike."""

    def hook(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
        state = {"running_mean": mean, "running_var": variance}
        if norm in exact:
            mask, bias = exact[norm].mask, exact[norm].bias
            deviation = (variance + norm.eps).sqrt()
            state["weight"] = torch.where(mask, deviation, norm.weight)
            state["bias"] = torch.where(mask, bias + mean, norm.bias)
        norm.load_state_dict(state, strict=False)

    hooks = [
        module.register_forward_pre_hook(hook)
        for layer in (network.layer2, network.layer3, network.layer4)
        for module in layer.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    network.eval()(faces.expand(-1, 3, -1, -1))
    for handle in hooks:
        handle.remove()
