"""The graph of record of a detector: RetinaFace on MobileNet, from frames to decoded boxes.

Deng et al., "RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild", CVPR 2020.

All shapes but the number of frames are fixed, so nothing in the graph computes a shape. The three
heads of a level are one convolution, whose outputs are pixels already: the size of an anchor is the
same in every cell, so it is part of weights and bias. What is left of decoding is a sum with the
centres of the cells.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fer_edge.detector_contract import (
    ANCHOR_SIZES,
    BOXES,
    FRAMES,
    LANDMARKS,
    SCORES,
    STRIDES,
    Bucket,
)
from fer_edge.export.detector.weights import Layer
from fer_edge.export.graph.view import IR_VERSION, OPSET, finish, set_constant

MEAN = (104, 117, 127)
"""Of the pixels, in the order of the channels that the network was trained with."""
SLOPE = 0.1
"""Of every LeakyRelu."""
_CENTRE, _SIDE = 0.1, 0.2
"""Variances: by what the network scales offsets of centres and logarithms of sides."""
_STAGES = (
    ("stage1", ("0", "1", "2", "3", "4", "5")),
    ("stage2", ("0", "1", "2", "3", "4", "5")),
    ("stage3", ("0", "1")),
)
_STRIDED = frozenset({"stage1.0", "stage1.2", "stage1.4", "stage2.0", "stage3.0"})


def detector_graph(layers: Mapping[str, Layer], bucket: Bucket) -> onnx.ModelProto:
    """The float32 graph for frames of one size.

    Parameters
    ----------
    layers : mapping of str to Layer
        As :func:`~fer_edge.export.detector.weights.read_layers` gives them.
    bucket : Bucket
    """
    return _Writer(layers, bucket).graph()


class _Writer:
    """Writes the nodes one after another."""

    def __init__(self, layers: Mapping[str, Layer], bucket: Bucket) -> None:
        self._layers = layers
        self._bucket = bucket
        self._model = helper.make_model(
            helper.make_graph([], "fer_edge", [], []),
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        self._model.ir_version = IR_VERSION

    def graph(self) -> onnx.ModelProto:
        width, height = self._bucket
        levels = self._features(self._pixels())
        self._decode([self._context(f"ssh{i}", level) for i, level in enumerate(levels, 1)])
        graph, anchors = self._model.graph, self._bucket.anchors
        graph.input.append(
            helper.make_tensor_value_info(FRAMES, TensorProto.UINT8, ["batch", height, width, 3])
        )
        for name, shape in ((BOXES, [anchors, 4]), (SCORES, [anchors]), (LANDMARKS, [anchors, 10])):
            graph.output.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
            )
        return finish(self._model)

    def _pixels(self) -> str:
        """Planes of pixels less their mean."""
        # TensorRT turns no integers.
        real = self._node("Cast", [FRAMES], "pixels", to=TensorProto.FLOAT)
        planes = self._node("Transpose", [real], "planes", perm=[0, 3, 1, 2])
        mean = self._constant("mean", np.array(MEAN, np.float32).reshape(1, 3, 1, 1))
        return self._node("Sub", [planes, mean], "centred")

    def _features(self, tensor: str) -> list[str]:
        """The three levels of the feature pyramid, the finest first."""
        found = []
        for stage, blocks in _STAGES:
            for block in blocks:
                name = f"{stage}.{block}"
                stride = 2 if name in _STRIDED else 1
                parts = [
                    p for p in (f"{name}.0", f"{name}.0.0", f"{name}.1.0") if p in self._layers
                ]
                tensor = self._block(parts[0], tensor, stride)
                for part in parts[1:]:
                    tensor = self._block(part, tensor)
            found.append(tensor)
        sides = [self._block(f"output{i}.0", level) for i, level in enumerate(found, 1)]
        for index in (1, 0):
            larger = self._resized(f"up{index + 1}", sides[index + 1], index)
            both = self._node("Add", [sides[index], larger], f"sum{index + 1}")
            sides[index] = self._block(f"merge{index + 1}.0", both)
        return sides

    def _resized(self, name: str, tensor: str, level: int) -> str:
        coarse, fine = (np.array(self._bucket.grids[i], np.float64) for i in (level + 1, level))
        scales = (fine / coarse).astype(np.float32)
        # Rounded down, they would lead to a row or column too few. Rounded up they change no place:
        # an odd number of rows and half of it have no common divisor.
        short = scales * coarse < fine
        scales[short] = np.nextafter(scales[short], np.float32(np.inf))
        form = self._constant(f"{name}.scales", np.array([1, 1, *scales], np.float32))
        return self._node(
            "Resize", [tensor, "", form], name, mode="nearest", nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )  # fmt: skip

    def _context(self, name: str, tensor: str) -> str:
        """Three fields of view side by side; the wider two begin with the same convolution."""
        near = self._clamped(f"{name}.conv3X3", tensor)
        begun = self._block(f"{name}.conv5X5_1", tensor)
        wide = self._clamped(f"{name}.conv5X5_2", begun)
        wider = self._block(f"{name}.conv7X7_2", begun)
        widest = self._clamped(f"{name}.conv7x7_3", wider)
        return self._node("Concat", [near, wide, widest], f"{name}.joined", axis=1)

    def _decode(self, levels: Sequence[str]) -> None:
        """Boxes, scores and landmarks of all anchors."""
        rows = [self._head(index, level) for index, level in enumerate(levels)]
        found = self._node("Concat", rows, "heads", axis=1)
        parts = {"offset": 2, "side": 2, "points": 10, "face": 1}
        sizes = self._constant("parts", np.array(list(parts.values()), np.int64))
        self._model.graph.node.append(
            helper.make_node("Split", [found, sizes], list(parts), "split", axis=2)
        )
        centres = self._centres()
        once = self._constant("centres", centres)
        five = self._constant("centres.five", np.tile(centres, (1, 1, 5)))
        centre = self._node("Add", ["offset", once], "centre")
        half = self._node("Exp", ["side"], "half")
        corners = [
            self._node("Sub", [centre, half], "corner.first"),
            self._node("Add", [centre, half], "corner.last"),
        ]
        self._node("Concat", corners, BOXES, axis=2)
        self._node("Add", ["points", five], LANDMARKS)
        last = self._constant("last", np.array([2], np.int64))
        flat = self._node("Squeeze", ["face", last], "logits")
        self._node("Sigmoid", [flat], SCORES)

    def _head(self, index: int, tensor: str) -> str:
        """What one level says of each of its anchors: (N, anchors, 15)."""
        anchors = ANCHOR_SIZES[index]
        layer = _joined_heads(self._layers, index)
        found = self._convolution(f"head{index + 1}", tensor, layer=layer)
        rows = self._node("Transpose", [found], f"head{index + 1}.rows", perm=[0, 2, 3, 1])
        grid = self._bucket.grids[index]
        shape = np.array([-1, grid[0] * grid[1] * len(anchors), 15], np.int64)
        inputs = [rows, self._constant(f"head{index + 1}.shape", shape)]
        return self._node("Reshape", inputs, f"head{index + 1}.anchors")

    def _centres(self) -> NDArray[np.float32]:
        """x, y in pixels of the centre of every anchor's cell, (1, anchors, 2)."""
        found = []
        for stride, sizes, (rows, columns) in zip(
            STRIDES, ANCHOR_SIZES, self._bucket.grids, strict=True
        ):
            y, x = np.mgrid[:rows, :columns]
            cells = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) * stride
            found.append(np.repeat(cells, len(sizes), axis=0))
        return np.concatenate(found)[None].astype(np.float32)

    def _block(self, name: str, tensor: str, stride: int = 1) -> str:
        made = self._convolution(name, tensor, stride)
        return self._node("LeakyRelu", [made], f"{name}/leakyrelu", alpha=SLOPE)

    def _clamped(self, name: str, tensor: str) -> str:
        return self._node("Relu", [self._convolution(name, tensor)], f"{name}/relu")

    def _convolution(
        self, name: str, tensor: str, stride: int = 1, layer: Layer | None = None
    ) -> str:
        layer = layer or self._layers[name]
        side = layer.weight.shape[-1]
        inputs = [
            tensor,
            self._constant(f"{name}.weight", layer.weight),
            self._constant(f"{name}.bias", layer.bias),
        ]
        return self._node(
            "Conv", inputs, name, kernel_shape=[side, side], pads=[side // 2] * 4,
            strides=[stride, stride], group=len(layer.weight) if _by_channel(layer) else 1,
        )  # fmt: skip

    def _node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self._model.graph.node.append(
            helper.make_node(operator, list(inputs), [name], name, **attributes)
        )
        return name

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        return set_constant(self._model, name, value)


def _by_channel(layer: Layer) -> bool:
    return layer.weight.shape[1] == 1 and len(layer.weight) > 1


def _joined_heads(layers: Mapping[str, Layer], level: int) -> Layer:
    """The three heads of one level as one convolution.

    For each anchor these are the offset of the centre, the logarithm of half the sides, the offsets
    of the five points, all in pixels, and the logit of a face.
    """
    heads = {kind: layers[f"{kind}_head.{level}"] for kind in ("bbox", "landmark", "class")}
    weights, biases = [], []
    for index, size in enumerate(ANCHOR_SIZES[level]):
        part = {kind: _part(head, index, len(ANCHOR_SIZES[level])) for kind, head in heads.items()}
        (box, box_bias), (points, points_bias), (logits, logits_bias) = part.values()
        offset = size * _CENTRE
        weights += [
            box[:2] * offset, box[2:] * _SIDE, points * offset, logits[1:] - logits[:1]
        ]  # fmt: skip
        biases += [
            box_bias[:2] * offset, box_bias[2:] * _SIDE + np.log(size / 2), points_bias * offset,
            logits_bias[1:] - logits_bias[:1],
        ]  # fmt: skip
    return Layer(
        np.concatenate(weights).astype(np.float32), np.concatenate(biases).astype(np.float32)
    )


def _part(head: Layer, index: int, parts: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights and bias of one anchor."""
    weight, bias = head.weight.astype(np.float64), head.bias.astype(np.float64)
    return np.split(weight, parts)[index], np.split(bias, parts)[index]
