"""Foreign networks that torch writes, by its newer exporter (dynamo) and its older."""

import logging
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.export.importing.networks import COLOR, UNIT, Foreign, fitted
from tests.export.importing.networks import images as rendered


class Cnn(nn.Module):
    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU6(),
            nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Dropout(),
        )  # fmt: skip
        self.fc = nn.Linear(144, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x))


class Transformer(nn.Module):
    """Patches, a class token, a block of attention in torch's own words, a dense layer."""

    def __init__(self, d: int = 24) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, d, 12, 12)
        self.token = nn.Parameter(torch.randn(1, 1, d))
        self.position = nn.Parameter(torch.randn(1, 17, d) * 0.1)
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        self.fc = nn.Linear(d, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        q, k, v = self.qkv(self.norm1(x)).reshape(x.shape[0], 17, 3, 2, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.proj(mixed)
        x = x + self.mlp(self.norm2(x))
        return self.fc(x[:, 0])


class ConvNext(nn.Module):
    """A depthwise convolution, layer norm and dense layers with channels last, a layer scale."""

    def __init__(self, d: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, d, 4, 4)
        self.depthwise = nn.Conv2d(d, d, 7, 1, 3, groups=d)
        self.norm = nn.LayerNorm(d)
        self.one, self.two = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.gamma = nn.Parameter(torch.full((d,), 0.5))
        self.fc = nn.Linear(d, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.two(F.gelu(self.one(y)))
        x = x + y.permute(0, 3, 1, 2)
        return self.fc(x.mean((2, 3)))


class Shuffle(nn.Module):
    """Two halves of the channels, one of them convolved, shuffled together."""

    def __init__(self, d: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, d, 3, 2, 1), nn.BatchNorm2d(d), nn.ReLU())
        half = d // 2
        self.branch = nn.Sequential(
            nn.Conv2d(half, half, 1), nn.BatchNorm2d(half), nn.ReLU(),
            nn.Conv2d(half, half, 3, 1, 1, groups=half), nn.BatchNorm2d(half),
            nn.Conv2d(half, half, 1), nn.ReLU(),
        )  # fmt: skip
        self.last = nn.Conv2d(d, d, 3, 2, 1)
        self.fc = nn.Linear(d, 7)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, 1)
        x = torch.cat([left, self.branch(right)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.fc(F.relu(self.last(x)).mean((2, 3)))


class Mobile(nn.Module):
    """MobileNetV3's block: expansion, depthwise, squeeze-and-excitation, hard swish."""

    def __init__(self, activation: Callable[[Tensor], Tensor] = F.hardswish) -> None:
        super().__init__()
        self.activation = activation
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16))
        self.expand = nn.Conv2d(16, 32, 1)
        self.depthwise = nn.Conv2d(32, 32, 3, 1, 1, groups=32)
        self.squeeze, self.excite = nn.Conv2d(32, 8, 1), nn.Conv2d(8, 32, 1)
        self.project = nn.Conv2d(32, 16, 1)
        self.fc = nn.Linear(16, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.stem(x))
        y = self.activation(self.depthwise(self.activation(self.expand(x))))
        gate = F.hardsigmoid if self.activation is F.hardswish else torch.sigmoid
        y = y * gate(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        x = x + self.project(y)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def lively(module: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """With statistics of batch norms, and a last layer that is fitted to faces."""
    with torch.no_grad():
        images = torch.from_numpy(rendered(shape[0], shape[1]))
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = None  # the mean of what it has seen
        module.train()
        module(images)
        module.eval()
        rows: list[Tensor] = []
        hook = module.fc.register_forward_pre_hook(lambda _fc, taken: rows.append(taken[0]))
        module(images)
        hook.remove()
        weights, bias = fitted(rows[0].double().numpy())
        module.fc.weight.copy_(torch.from_numpy(weights.T))
        module.fc.bias.copy_(torch.from_numpy(bias))
    return module


def _write(make: Callable[[], nn.Module], dynamo: bool, shape: tuple[int, ...], path: Path) -> None:
    torch.manual_seed(0)
    module = lively(make(), shape)
    names = {"input_names": ["input"], "output_names": ["output"]}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if dynamo:
            torch.onnx.export(
                module, (torch.rand(2, *shape),), path, dynamo=True, opset_version=18,
                dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False, **names,
            )  # fmt: skip
        else:
            torch.onnx.export(
                module, (torch.rand(2, *shape),), path, dynamo=False, opset_version=17,
                dynamic_axes={"input": {0: "n"}, "output": {0: "n"}}, **names,
            )  # fmt: skip


def torch_networks() -> dict[str, Foreign]:
    found = {}
    made = {
        "batch norms": (Cnn, 1),
        "transformer": (Transformer, 3),
        "ConvNeXt": (ConvNext, 3),
        "ShuffleNet": (Shuffle, 3),
        "MobileNetV3": (Mobile, 3),
        "EfficientNet": (partial(Mobile, F.silu), 3),
    }
    for name, (make, channels) in made.items():
        for dynamo in (False, True):
            write = partial(_write, make, dynamo, (channels, 48, 48))
            how = "dynamo" if dynamo else "script"
            found[f"{name}, {how}"] = Foreign(write, COLOR if channels == 3 else UNIT, True)
    return found
