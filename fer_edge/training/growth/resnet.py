"""Growing a ResNet-50 out of a trained compact.

Every stage of compact fits into one of ResNet-50: a block of two 3x3 convolutions becomes two
bottlenecks, or four where it is wide, whose 1x1 convolutions mostly select channels. Channels and
blocks left over start without a say in the result (Chen et al. 2016, arXiv:1511.05641; Wei et al.
2016, arXiv:1603.01670). The first stage of compact sees the face at a resolution that ResNet-50
never has: stem and first stage of ResNet-50 are fitted to its output.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models.resnet import Bottleneck, ResNet

from fer_edge.models.compact import Block, Compact, blocks_by_size
from fer_edge.training.growth.features import Batches, Fit

TAIL = 1e-3
"""Share of the values that may be cut off where an offset keeps a branch above zero."""

_Layer = tuple[nn.Conv2d, nn.BatchNorm2d]


def grow_resnet(network: ResNet, source: Compact, fit: Fit, faces: Batches) -> None:
    """Fit the stem and first stage of ``network``, and write the rest of ``source`` into it."""
    _quiet(network.layer1)
    fit(
        [nn.Sequential(network.conv1, network.bn1, network.relu, network.layer1)],
        [nn.Sequential(source.stem, source.stages[0])],
    )
    with torch.no_grad():
        _embed(network, source, faces())


def fits_resnet(source: Compact, network: ResNet) -> bool:
    """Whether each stage of ``source`` has room in one of ``network``."""
    layers = (network.layer2, network.layer3, network.layer4)
    _, *stages = blocks_by_size(source)
    return len(stages) == len(layers) and all(
        isinstance(layer[0], Bottleneck)
        and len(layer) >= sum(_bottlenecks(block, layer[0]) for block in blocks)
        for layer, blocks in zip(layers, stages, strict=True)
    )


def _bottlenecks(block: Block, bottleneck: Bottleneck) -> int:
    """How many it takes; with two, the second has the branch and a convolved skip side by side."""
    convolution, _ = _pair(block.residual, 0)
    width = convolution.out_channels
    if isinstance(block.skip, nn.Sequential):
        width += convolution.in_channels
    return 2 if width <= bottleneck.conv2.in_channels else 4


@dataclass
class _Exact:
    """Channels of a batch norm that add ``bias`` and do nothing else; the others normalise."""

    mask: Tensor
    bias: Tensor


class _Writer:
    """Writes weights into some channels of convolutions, and remembers which."""

    def __init__(self) -> None:
        self.exact: dict[nn.BatchNorm2d, _Exact] = {}

    def put(
        self,
        layer: _Layer,
        weight: Tensor,
        bias: Tensor,
        *,
        row: int = 0,
        column: int = 0,
    ) -> None:
        """Outputs from ``row`` on become ``weight`` of the inputs from ``column`` on."""
        convolution, norm = layer
        rows, columns = weight.shape[:2]
        convolution.weight[row : row + rows] = 0
        convolution.weight[row : row + rows, column : column + columns] = weight
        known = self._known(norm)
        known.mask[row : row + rows] = True
        known.bias[row : row + rows] = bias

    def copy(self, layer: _Layer, count: int, *, row: int = 0, column: int = 0) -> None:
        weight = layer[0].weight
        eye = torch.eye(count, device=weight.device)[..., None, None]
        self.put(layer, eye, weight.new_zeros(()), row=row, column=column)

    def clear(self, layer: _Layer, rows: int) -> None:
        """Make zeros of the first outputs, but for those that were put."""
        convolution, norm = layer
        mask = self._known(norm).mask
        others = ~mask[:rows]
        convolution.weight[:rows][others] = 0
        mask[:rows] = True

    def _known(self, norm: nn.BatchNorm2d) -> _Exact:
        zeros = torch.zeros_like(norm.bias)
        return self.exact.setdefault(norm, _Exact(zeros.bool(), zeros))


def _embed(network: ResNet, source: Compact, faces: Tensor) -> None:
    """Put all stages of ``source`` but the first, and its classifier, into ``network``."""
    writer = _Writer()
    x = source.stages[0](source.stem(faces))
    layers = (network.layer2, network.layer3, network.layer4)
    for layer, blocks in zip(layers, blocks_by_size(source)[1:], strict=True):
        bottlenecks = iter(layer)
        used: list[Bottleneck] = []
        free = 0
        for block in blocks:
            offset = _offset(block.residual(x))
            free, taken = _embed_block(bottlenecks, block, free, offset, writer)
            used += taken
            x = block(x)
        for bottleneck in used:
            writer.clear((bottleneck.conv3, bottleneck.bn3), free)
        writer.clear(_downsample(used[0]), free)
        _quiet(layer)
    nn.init.zeros_(network.fc.weight)
    network.fc.weight[:, : source.classifier.in_features] = source.classifier.weight
    network.fc.bias.copy_(source.classifier.bias)
    _calibrate(network, writer.exact, faces)


def _embed_block(
    bottlenecks: Iterator[Bottleneck],
    block: Block,
    free: int,
    offset: Tensor,
    writer: _Writer,
) -> tuple[int, list[Bottleneck]]:
    """Put a block into the next bottlenecks; its output takes the first channels of the stage.

    What one bottleneck leaves to the next lies in channels from ``free`` on. The sum of branch and
    skip is negative in part, and a ReLU stands behind every convolution of a bottleneck but the
    last: so the sum is made where the block has its own ReLU.

    Returns
    -------
    The first channel that is still free, and the bottlenecks taken.
    """
    convolution = _pair(block.residual, 0)
    inputs, width = convolution[0].in_channels, convolution[0].out_channels
    hidden = max(free, width)
    weight, bias = _folded(*_pair(block.residual, 3))

    first, second = next(bottlenecks), next(bottlenecks)
    writer.copy((first.conv1, first.bn1), inputs)
    writer.put((first.conv2, first.bn2), *_folded(*convolution))
    writer.copy((first.conv3, first.bn3), width, row=hidden)

    if not isinstance(block.skip, nn.Sequential):
        # The skip waits in the first channels; an offset keeps the branch above zero.
        writer.copy((second.conv1, second.bn1), width, column=hidden)
        writer.put((second.conv2, second.bn2), weight, bias + offset)
        writer.copy((second.conv3, second.bn3), width)
        writer.exact[second.bn3].bias[:width] = -offset
        return hidden + width, [first, second]

    skip_weight, skip_bias = _folded(*_pair(block.skip, 0))
    if _bottlenecks(block, second) == 2:
        copied = hidden + width
        writer.copy(_downsample(first), inputs, row=copied)
        writer.copy((second.conv1, second.bn1), width + inputs, column=hidden)
        both = torch.cat((weight, _centred(skip_weight)), dim=1)
        writer.put((second.conv2, second.bn2), both, bias + skip_bias)
        writer.copy((second.conv3, second.bn3), width)
        return copied + inputs, [first, second]

    # Too wide for one: the positive and the negative part of the branch, then the sum.
    third, fourth = next(bottlenecks), next(bottlenecks)
    positive = hidden + width
    negative = positive + width
    copied = negative + width
    writer.copy(_downsample(first), inputs, row=copied)
    for bottleneck, sign, row in ((second, 1, positive), (third, -1, negative)):
        writer.copy((bottleneck.conv1, bottleneck.bn1), width, column=hidden)
        writer.put((bottleneck.conv2, bottleneck.bn2), sign * weight, sign * bias)
        writer.copy((bottleneck.conv3, bottleneck.bn3), width, row=row)
    eye = torch.eye(width, device=weight.device)[..., None, None]
    total = torch.cat((eye, -eye, skip_weight), dim=1)
    writer.put((fourth.conv1, fourth.bn1), total, skip_bias, column=positive)
    writer.put((fourth.conv2, fourth.bn2), _centred(eye), bias.new_zeros(()))
    writer.copy((fourth.conv3, fourth.bn3), width)
    return copied + inputs, [first, second, third, fourth]


def _quiet(layer: nn.Module) -> None:
    """Start with branches that add nothing (Goyal et al. 2017, arXiv:1706.02677, section 5.1).

    What is written later stays; free channels do not grow from sum to sum, and so leave the steps
    of INT8 to those that count.
    """
    for module in layer.modules():
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)


def _centred(weight: Tensor) -> Tensor:
    """A 1x1 convolution as a 3x3 one."""
    return functional.pad(weight, (1, 1, 1, 1))


def _downsample(bottleneck: Bottleneck) -> _Layer:
    assert bottleneck.downsample is not None
    return _pair(bottleneck.downsample, 0)


def _pair(modules: nn.Sequential, index: int) -> _Layer:
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
