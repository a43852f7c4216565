"""What a graph does to the pixels before its first layer."""

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from fer_edge.export.graph.view import GraphView, copy_of, set_constant


@dataclass(frozen=True)
class Pixels:
    """The pixels less what is subtracted from them, which is what the first layer reads."""

    tensor: str
    """What the first layer reads."""
    source: str
    """The pixels themselves, uint8: the input of the graph."""
    turned: onnx.NodeProto | None
    """The Transpose that brings their channels before the rows; None where they are there."""
    zero: int
    """What is subtracted, as a whole number."""
    offsets: NDArray[np.float32] | None
    """What is subtracted from each channel besides; None where it is nothing."""
    nodes: frozenset[str]
    """Names of the nodes between ``source`` and ``tensor``."""


def centred_pixels(view: GraphView) -> Pixels | None:
    """The pixels less a number, or less one for each channel; None where there is no such tensor.

    Without a subtraction they are the pixels as they are, less 0.
    """
    source = view.inputs[0]
    cast = _only(view, source, "Cast")
    if cast is None:
        return None
    turned = _only(view, cast.output[0], "Transpose")
    last = cast if turned is None else turned
    names = {cast.name, last.name}
    pixels = str(last.output[0])
    less = _only(view, pixels, "Sub")
    if less is None:
        return Pixels(pixels, source, turned, 0, None, frozenset(names))
    if less.input[0] != pixels or less.input[1] not in view.constants:
        return None
    mean = view.array(less.input[1])
    zero = round(float(mean.mean()))
    offsets = mean.astype(np.float32) - np.float32(zero)
    if not 0 <= zero <= 255 or (mean.size > 1 and mean.shape[-3:] != (mean.size, 1, 1)):
        return None
    if mean.size == 1 and mean.item() != zero:
        return None
    return Pixels(
        str(less.output[0]), source, turned, zero, offsets.reshape(-1) if offsets.any() else None,
        frozenset({*names, less.name}),
    )  # fmt: skip


def offsets_in_bias(model: onnx.ModelProto, pixels: Pixels) -> onnx.ModelProto | None:
    """The graph with what is subtracted from each channel besides the zero point in the biases.

    What its first layer pads then stands for the zero point. None where others than layers with a
    bias read the pixels.
    """
    out, view = copy_of(model), GraphView(model)
    takers = view.consumers[pixels.tensor]
    if pixels.offsets is None or not all(view.is_layer(n) and len(n.input) > 2 for n in takers):
        return None
    for node in takers:
        weights, bias = view.array(node.input[1]), view.array(node.input[2])
        offsets = pixels.offsets.reshape(1, -1, *[1] * (weights.ndim - 2))
        less = (weights.astype(np.float64) * offsets).reshape(len(weights), -1).sum(axis=1)
        set_constant(out, node.input[2], (bias - less).astype(np.float32))
    return out


def _only(view: GraphView, tensor: str, operator: str) -> onnx.NodeProto | None:
    taker = view.only_consumer(tensor)
    return taker if taker is not None and taker.op_type == operator else None
