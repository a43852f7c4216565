"""A network of npm as one's own module: the expression network of @vladmandic/face-api.

    npm pack @vladmandic/face-api
    python bench/face_api.py vladmandic-face-api-1.7.15.tgz build/face-api --data fer2013.zip

Its architecture is in the package's TypeScript (src/faceFeatureExtractor), its weights are a
manifest and a file of bytes. They are read from the archive and are not carried here.
"""

import argparse
import json
import tarfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_edge.export import export_module

LABELS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
MEAN = (122.782, 117.001, 104.298)
WIDTHS = (32, 64, 128, 256)


class Convolution(nn.Module):
    """A convolution as TensorFlow pads it: at stride 2, an even side gets its pixel at the end."""

    def __init__(self, inputs: int, outputs: int, stride: int, separable: bool) -> None:
        super().__init__()
        self.stride = stride
        padding = 1 if stride == 1 else 0
        groups = inputs if separable else 1
        middle = inputs if separable else outputs
        self.spatial = nn.Conv2d(
            inputs, middle, 3, stride, padding, groups=groups, bias=not separable
        )
        self.pointwise = nn.Conv2d(inputs, outputs, 1) if separable else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.stride == 1 else functional.pad(x, (0, 1, 0, 1))
        return self.pointwise(self.spatial(x))


class DenseBlock(nn.Module):
    """Four convolutions; each but the first sees the sum of all before it."""

    def __init__(self, inputs: int, outputs: int, first: bool) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            Convolution(
                inputs if i == 0 else outputs, outputs, 2 if i == 0 else 1, i > 0 or not first
            )
            for i in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        total = functional.relu(self.convolutions[0](x))
        x = total
        for convolution in self.convolutions[1:]:
            total = total + convolution(x)
            x = functional.relu(total)
        return x


class FaceExpressionNet(nn.Module):
    """Logits (N, 7) of RGB faces, float32 (N, 3, 112, 112), as ``(pixel - mean) / 255``."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                DenseBlock(inputs, outputs, inputs == 3)
                for inputs, outputs in zip((3, *WIDTHS[:-1]), WIDTHS, strict=True)
            )
        )
        self.classifier = nn.Linear(WIDTHS[-1], len(LABELS))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(x).mean((2, 3)))


def load(archive: Path) -> FaceExpressionNet:
    """The network with the weights that the npm archive has."""
    with tarfile.open(archive) as package:
        (group,) = json.load(_member(package, "face_expression_model-weights_manifest.json"))
        stored = _member(package, "face_expression_model.bin").read()
    tensors, at = {}, 0
    for weight in group["weights"]:
        tensors[weight["name"]], at = _tensor(weight, stored, at)
    if at != len(stored):
        raise SystemExit(f"{archive}: {len(stored)} bytes of weights, and its manifest has {at}.")
    network = FaceExpressionNet()
    network.load_state_dict(
        {name: torch.from_numpy(value.copy()) for name, value in _renamed(tensors)}
    )
    return network


def _member(package: tarfile.TarFile, name: str) -> IO[bytes]:
    found = package.extractfile(f"package/model/{name}")
    assert found is not None, name
    return found


def _tensor(weight: dict[str, Any], stored: bytes, at: int) -> tuple[np.ndarray, int]:
    """One tensor, with its quantisation undone, and where the next begins."""
    count = int(np.prod(weight["shape"]))
    steps = weight.get("quantization")
    kind = np.dtype(steps["dtype"] if steps else weight["dtype"])
    values = np.frombuffer(stored, kind, count, at).astype(np.float32)
    if steps:
        values = values * np.float32(steps["scale"]) + np.float32(steps["min"])
    return values.reshape(weight["shape"]), at + count * kind.itemsize


def _renamed(tensors: dict[str, np.ndarray]):
    """TensorFlow's names and layouts (height, width, in, out) as torch has them."""
    for name, value in tensors.items():
        block, *rest = name.split("/")
        if block == "fc":
            yield f"classifier.{'bias' if rest == ['bias'] else 'weight'}", value.T
            continue
        convolution, kind = rest
        prefix = (
            f"blocks.{block.removeprefix('dense')}.convolutions.{convolution.removeprefix('conv')}"
        )
        separable = f"{block}/{convolution}/pointwise_filter" in tensors
        if kind == "bias":
            yield f"{prefix}.{'pointwise' if separable else 'spatial'}.bias", value
        elif kind == "depthwise_filter":
            yield f"{prefix}.spatial.weight", value.transpose(2, 3, 0, 1)
        else:
            part = "pointwise" if kind == "pointwise_filter" else "spatial"
            yield f"{prefix}.{part}.weight", value.transpose(3, 2, 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="what npm pack wrote")
    parser.add_argument("out", type=Path, help="artifact folder")
    parser.add_argument("--data", type=Path, required=True, help="FER2013")
    arguments = parser.parse_args()
    artifact = export_module(
        load(arguments.archive),
        arguments.out,
        size=112,
        color="rgb",
        scale=255,
        mean=[mean / 255 for mean in MEAN],
        labels=LABELS,
        name="face-api",
        fp16=True,
        int8=True,
        data=arguments.data,
    )
    for precision, score in artifact.manifest.scores.items():
        print(f"{precision}: {100 * score.accuracy:.2f} % of {score.n} faces of {score.split}")


if __name__ == "__main__":
    main()
