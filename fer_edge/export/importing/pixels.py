"""What happens to the pixels before the first layer: one subtraction, the rest in the weights."""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from fer_edge.export.importing.editing import Editable, attributes
from fer_edge.export.quantization.scales import SMALLEST_SCALE, row_maxima

_LINEAR_MAPS = ("Resize", "Transpose", "Concat", "Expand", "Tile", "Gather", "Reshape")
"""They move, repeat or mix numbers so that a common factor may as well come after them."""
_TYPICAL = 0.125
"""To this and more the largest weight of half of the outputs is brought: sixteen times what is
wanted at least, so that outputs of smaller weights have steps, too."""
_GRID = 1024
"""Means are rounded to such parts of a grey level: float32 has lost the rest on the way."""


@dataclass(frozen=True)
class Affine:
    """What a network does to a pixel: factor * pixel + offset, for each channel."""

    factor: NDArray[np.float64]
    offset: NDArray[np.float64]

    def __call__(self, pixel: float) -> NDArray[np.float64]:
        return self.factor * pixel + self.offset


def first_steps(graph: Editable, tensor: str) -> tuple[Affine, list[onnx.NodeProto]]:
    """The multiplications and additions of constants that begin at ``tensor``, taken together."""
    factor, offset, steps = np.ones(1), np.zeros(1), []
    while (node := graph.only_taker(tensor)) is not None:
        if node.op_type not in ("Add", "Sub", "Mul", "Div") or node.input[0] != tensor:
            break
        value = graph.value(node.input[1])
        if value is None or value.ndim > 4:
            break
        whole = value.reshape((1,) * (4 - value.ndim) + value.shape).astype(np.float64)
        if whole.size != whole.shape[1]:
            break
        one = whole.reshape(-1)
        if node.op_type in ("Mul", "Div"):
            one = one if node.op_type == "Mul" else 1 / one
            factor, offset = factor * one, offset * one
        else:
            offset = offset + (one if node.op_type == "Add" else -one)
        steps.append(node)
        tensor = node.output[0]
    return Affine(factor, offset), steps


def one_subtraction(graph: Editable) -> None:
    """All that is done to the pixels is a subtraction, then a multiplication."""
    for cast in [node for node in graph.nodes if node.op_type == "Cast"]:
        if all(cast.input[0] != value.name for value in graph.inputs):
            continue
        affine, steps = first_steps(graph, cast.output[0])
        if not steps or not np.all(affine.factor):
            return
        mean = -affine.offset / affine.factor
        near = np.round(mean * _GRID) / _GRID
        mean = np.where(
            np.abs(mean - near) < 1e-3 / _GRID * np.maximum(np.abs(mean), 1), near, mean
        )
        target, tensor, new = steps[-1].output[0], cast.output[0], []
        scaled = np.any(affine.factor != 1)
        if np.any(mean != 0):
            result = graph.unique("pixels/sub") if scaled else target
            name = graph.constant(_along_channels(mean), "mean")
            new.append(helper.make_node("Sub", [tensor, name], [result], result))
            tensor = result
        if scaled:
            name = graph.constant(_along_channels(affine.factor), "scale")
            new.append(helper.make_node("Mul", [tensor, name], [target], target))
        if new:
            graph.replace(steps, new)


def _along_channels(values: NDArray[np.float64]) -> NDArray[np.float32]:
    if (values == values[0]).all():
        return np.array(values[0], np.float32)
    return values.astype(np.float32).reshape(-1, 1, 1)


def scales_last(graph: Editable) -> bool:
    """A multiplication by one number changes places with what moves or resizes a map."""
    for node in list(graph.nodes):
        if node.op_type != "Mul" or node.input[1] not in graph.constants:
            continue
        if graph.constants[node.input[1]].size != 1:
            continue
        takers = {id(t): t for t in graph.takers.get(node.output[0], ())}
        if len(takers) != 1 or node.output[0] in graph.given:
            continue
        (taker,) = takers.values()
        if taker.op_type not in _LINEAR_MAPS or not _only_this(graph, taker, node.output[0]):
            continue
        moved = graph.unique(f"{taker.name}/moved")
        scale = graph.constant(graph.constants[node.input[1]].reshape(()), node.input[1])
        for index, name in enumerate(taker.input):
            if name == node.output[0]:
                taker.input[index] = node.input[0]
        target = taker.output[0]
        taker.output[0] = moved
        last = helper.make_node("Mul", [moved, scale], [target], node.name)
        graph.replace([node, taker], [taker, last])
        return True
    return False


def sized_weights(graph: Editable) -> None:
    """Weights of a layer that takes the pixels are no smaller than INT8 can tell apart.

    Pixels reach to 255, and a network that wants 0 to 1 has the difference in its first weights: of
    a large kernel they are so small that steps of a 127th of them are none that float16 has. A
    power of two is multiplied before the layer instead, and nothing is rounded by it.
    """
    for node in list(graph.nodes):
        if node.op_type not in ("Conv", "Gemm") or node.input[1] not in graph.constants:
            continue
        weights = graph.constants[node.input[1]]
        typical = float(np.median(row_maxima(weights)))
        if not 0 < typical < 127 * SMALLEST_SCALE or not _of_pixels(graph, node.input[0]):
            continue
        power = np.array(2.0 ** np.ceil(np.log2(_TYPICAL / typical)), np.float32)
        scaled = graph.unique(f"{node.name}/pixels")
        factor = graph.constant(np.asarray(1 / power), "scale")
        node.input[1] = graph.constant(weights * power, node.input[1])
        before = helper.make_node("Mul", [node.input[0], factor], [scaled], scaled)
        node.input[0] = scaled
        graph.nodes.insert(graph.nodes.index(node), before)
        graph.touch()


def _of_pixels(graph: Editable, tensor: str) -> bool:
    """Whether nothing but constants and moves is between the faces and a tensor."""
    while (node := graph.producer.get(tensor)) is not None:
        if node.op_type not in (*_LINEAR_MAPS, "Cast", "Add", "Sub", "Mul"):
            return False
        if any(name and name not in graph.constants for name in node.input[1:]):
            return False
        tensor = node.input[0]
    return True


def _only_this(graph: Editable, node: onnx.NodeProto, tensor: str) -> bool:
    others = [n for n in node.input if n and n != tensor and n not in graph.constants]
    extrapolates = attributes(node).get("coordinate_transformation_mode") == "tf_crop_and_resize"
    constants = node.op_type == "Concat" and any(n in graph.constants for n in node.input)
    return not others and not extrapolates and not constants
