"""Cross-layer equalisation: even out the channels between two layers before quantising.

References
----------
Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv:1906.04721, section 4.1.
"""

import numpy as np
import onnx

from fer_edge.export.graph import WEIGHTED, GraphView, copy_of, set_constant

SWEEPS = 4
"""Over all pairs; a layer between two others belongs to two pairs."""
_PASSING = ("Relu", "MaxPool", "GlobalAveragePool")
"""Operators that multiply their output by s where their input is multiplied by s > 0."""


def equalise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Scale channels between pairs of layers so that both use their ranges evenly.

    A channel that leaves one layer multiplied by s, and enters the next divided by s, leaves the
    network as it was. s = sqrt(range in the next layer / range in the first one) makes both ranges
    equal; it is rounded to a power of two, so that float arithmetic is the same, bit for bit.
    """
    out = copy_of(model)
    view = GraphView(out)
    pairs = list(_pairs(view))
    weights = {name: view.array(name).copy() for name in _constants(pairs)}
    for _ in range(SWEEPS):
        for first, second in pairs:
            scale = _scales(weights[first.input[1]], weights[second.input[1]])
            weights[first.input[1]] *= scale.reshape(-1, *[1] * (weights[first.input[1]].ndim - 1))
            if len(first.input) > 2:
                weights[first.input[2]] *= scale
            weights[second.input[1]] /= scale.reshape(
                1, -1, *[1] * (weights[second.input[1]].ndim - 2)
            )
    for name, value in weights.items():
        set_constant(out, name, value)
    return out


def _scales(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    out = np.abs(first).reshape(len(first), -1).max(axis=1)
    into = np.abs(np.moveaxis(second, 1, 0)).reshape(second.shape[1], -1).max(axis=1)
    alive = (out > 0) & (into > 0)
    ratio = np.divide(into, out, out=np.ones_like(out), where=alive)
    return np.exp2(np.round(np.log2(ratio) / 2)).astype(np.float32)


def _pairs(view: GraphView) -> "list[tuple[onnx.NodeProto, onnx.NodeProto]]":
    """Layers with nothing between them that a scale per channel could not pass."""
    pairs = []
    for node in view.nodes:
        if node.op_type not in WEIGHTED:
            continue
        taker = view.only_consumer(node.output[0])
        while taker is not None and taker.op_type in (*_PASSING, "Flatten"):
            taker = view.only_consumer(taker.output[0])
        if taker is None or taker.op_type not in WEIGHTED:
            continue
        # A grouped convolution or a flattened map has fewer weights than channels.
        if view.array(taker.input[1]).shape[1] == len(view.array(node.input[1])):
            pairs.append((node, taker))
    return pairs


def _constants(pairs: "list[tuple[onnx.NodeProto, onnx.NodeProto]]") -> list[str]:
    return list(dict.fromkeys(name for pair in pairs for node in pair for name in node.input[1:]))
