"""Equalisation: even out the channels between layers before quantising.

References
----------
Xiao et al. 2022, "SmoothQuant", arXiv:2211.10438, equation 4 with alpha 0.5: a channel's share in
the range of the activations against its share in that of the weights that read it. Nagel et al.
2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721,
section 4.1, for convolutions with a ReLU between them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from fer_edge.engines.base import Faces
from fer_edge.errors import CalibrationError
from fer_edge.export.graph.bounds import attribute
from fer_edge.export.graph.inner_tensors import observe
from fer_edge.export.graph.view import GraphView, copy_of, plain_gemms, set_constant
from fer_edge.export.quantization.placement import place, quantised_layers
from fer_edge.export.quantization.scales import row_maxima

FACES = 256
LARGEST_EXPONENT = 32
_PASSING = ("Relu", "LeakyRelu", "MaxPool", "GlobalAveragePool", "Flatten", "Add", "Resize")
"""Operators that multiply their output by s where all their inputs are multiplied by s > 0."""
_SCALABLE = ("Conv", "Gemm")
"""Layers whose weights have outputs first and inputs second."""
_SMALLEST_ROW = 2.0**-6
"""Weights are not scaled below it: their steps are normal float16 numbers (:mod:`.scales`)."""
_LIFTS = range(-5, 5)
"""Exponents of a stream that is lifted: its activations, too, keep away from the smallest step and
from the largest float16."""
_NEGLIGIBLE = 1
"""Exponents up to it are not worth moving weights off the steps on which training rounded them."""


@dataclass
class _Stream:
    """Tensors with the same channels: layers give them, others read them, sums tie them."""

    tensors: list[str] = field(default_factory=list)
    makers: list[onnx.NodeProto] = field(default_factory=list)
    takers: list[onnx.NodeProto] = field(default_factory=list)
    closed: bool = True
    """Nothing but layers and passing operators gives or reads it."""


def channel_exponents(model: onnx.ModelProto, faces: Faces) -> dict[str, list[int]]:
    """Powers of two that even out the channels of streams.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    faces : uint8 array, shape (N, channels, size, size)
        At most 256 of them, evenly chosen, are looked at.

    Returns
    -------
    dict
        First layer of a stream to an exponent per channel, for :func:`equalise`; streams that are
        even are left out.
    """
    model = plain_gemms(model)
    view = GraphView(model)
    placement = place(model)
    quantised = {*placement.activations, *placement.cpu_activations}
    streams = [stream for stream in _streams(view) if quantised.intersection(stream.tensors)]
    if not streams:
        return {}
    tensors = [t for stream in streams for t in stream.tensors if t in quantised]
    largest = {tensor: np.zeros(1, np.float32) for tensor in tensors}
    for values in observe(model, tensors, faces[:: -(-len(faces) // FACES)]):
        for tensor, value in zip(tensors, values, strict=True):
            seen = np.moveaxis(np.abs(value), 1, 0).reshape(value.shape[1], -1).max(axis=1)
            largest[tensor] = np.maximum(largest[tensor], seen)
    weights, exponents = _Weights(view), {}
    for stream in streams:
        activations = np.max([largest[t] for t in stream.tensors if t in largest], axis=0)
        found = _exponents(view, weights, stream, activations)
        if any(found):
            exponents[stream.makers[0].name] = found
            weights.scale(stream, found)
    return exponents


def equalise(model: onnx.ModelProto, exponents: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """Scale the channels of streams; the function is the same, bit for bit.

    What enters a stream is multiplied by a power of two per channel, and what reads it takes that
    back in its weights.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    exponents : mapping of str to sequence of int
        By :func:`channel_exponents`, of this graph.

    Raises
    ------
    CalibrationError
        A layer begins no stream.
    """
    out = plain_gemms(model)
    view = GraphView(out)
    weights = _Weights(view)
    streams = {stream.makers[0].name: stream for stream in _streams(view)}
    for layer, found in exponents.items():
        if layer not in streams:
            raise CalibrationError(
                f"The calibration table evens out what {layer} gives, which cannot be scaled.",
                hint="Calibrate again with --data.",
            )
        weights.scale(streams[layer], found)
    for name, value in weights.changed.items():
        set_constant(out, name, value)
    return out


def lift_small_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Scale whole streams such that fewer weights are too small for the steps of INT8.

    Weights of an output channel below the smallest step (:mod:`.scales`) are rounded to few steps
    or to none. A power of two moves magnitude between the layers that give a stream and those that
    read it; the function and the rounding of all other weights are the same, bit for bit.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    """
    out = plain_gemms(model)
    view = GraphView(out)
    weights, quantised = _Weights(view), set(quantised_layers(view))
    streams = _streams(view)
    lifts = dict.fromkeys(range(len(streams)), 0)

    def lifted(index: int) -> bool:
        stream = streams[index]
        both = {node.name for node in stream.makers} & {node.name for node in stream.takers}
        rows = [
            (row_maxima(weights[node.input[1]]), sign)
            for nodes, sign in ((stream.makers, 1), (stream.takers, -1))
            for node in nodes
            # What gives a stream and reads it is scaled back and forth.
            if node.name in quantised - both
        ]

        def too_small(exponent: int) -> int:
            """Output channels that lie below the smallest row."""
            scaled = ((found, found * 2.0 ** (sign * exponent)) for found, sign in rows)
            return sum(int(np.count_nonzero((f > 0) & (s < _SMALLEST_ROW))) for f, s in scaled)

        possible = sorted((lift - lifts[index] for lift in _LIFTS), key=abs)
        exponent = min(possible, key=too_small)
        if exponent:
            lifts[index] += exponent
            weights.scale(stream, [exponent] * len(weights[stream.makers[0].input[1]]))
        return exponent != 0

    # Each time fewer channels are too small than before, so this ends.
    while any(lifted(index) for index in lifts):
        pass
    if not weights.changed:
        return copy_of(model)
    for name, value in weights.changed.items():
        set_constant(out, name, value)
    return out


class _Weights:
    """Weights and biases of a graph, some of them scaled."""

    def __init__(self, view: GraphView) -> None:
        self._view = view
        self.changed: dict[str, NDArray[np.float32]] = {}

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self.changed[name] if name in self.changed else self._view.array(name)

    def scale(self, stream: _Stream, exponents: Sequence[int]) -> None:
        factors = np.exp2(np.asarray(exponents)).astype(np.float32)
        for node in stream.makers:
            for name in node.input[1:]:
                rows = factors.reshape(-1, *[1] * (self[name].ndim - 1))
                self.changed[name] = self[name] * rows
        for node in stream.takers:
            name = node.input[1]
            axes = [1] * (self[name].ndim - 2)
            read = (-1, 1, *axes) if depthwise(self._view, node) else (1, -1, *axes)
            self.changed[name] = self[name] / factors.reshape(read)


def _streams(view: GraphView) -> list[_Stream]:
    """All streams that can be scaled, in graph order."""
    found: dict[str, _Stream] = {}

    def join(one: _Stream, other: _Stream) -> _Stream:
        if one is other:
            return one
        one.tensors += other.tensors
        one.makers += other.makers
        one.takers += other.takers
        one.closed &= other.closed
        for tensor in other.tensors:
            found[tensor] = one
        return one

    for node in view.nodes:
        inputs = [found[name] for name in node.input if name in found]
        stream = _Stream()
        constant = all(name in view.constants for name in node.input[1:] if name)
        if node.op_type in _SCALABLE and constant:
            stream.makers.append(node)
            for read in inputs:
                read.takers.append(node)
        elif node.op_type in _PASSING and len(inputs) == _values(node):
            for read in inputs:
                stream = join(read, stream)
        else:
            stream.closed = False
            for read in inputs:
                read.closed = False
        for tensor in node.output:
            stream.tensors.append(tensor)
            stream.closed &= tensor not in view.outputs
            found[tensor] = stream
    unique = list({id(stream): stream for stream in found.values()}.values())
    order = {node.name: position for position, node in enumerate(view.nodes)}
    for stream in unique:
        stream.makers.sort(key=lambda node: order[node.name])
    return [s for s in unique if s.closed and s.makers and s.takers and _same_width(view, s)]


def _same_width(view: GraphView, stream: _Stream) -> bool:
    """Not so where a grouped convolution or a flattened map is read."""
    given = {len(view.array(node.input[1])) for node in stream.makers}
    read = {_width(view, node) for node in stream.takers}
    return len(given | read) == 1


def _width(view: GraphView, node: onnx.NodeProto) -> int:
    """Channels that a layer reads, as far as its weights tell."""
    outputs, inputs = view.array(node.input[1]).shape[:2]
    return int(outputs if depthwise(view, node) else inputs)


def depthwise(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether each output channel of a layer reads the input channel at its place alone."""
    shape = view.array(node.input[1]).shape
    return node.op_type == "Conv" and shape[1] == 1 and attribute(node, "group", 1) == shape[0]


def _values(node: onnx.NodeProto) -> int:
    """Inputs of a node whose values its output is made of; those of a Resize besides are sizes."""
    return 1 if node.op_type == "Resize" else len(node.input)


def _exponents(
    view: GraphView, weights: _Weights, stream: _Stream, activations: NDArray[np.float32]
) -> list[int]:
    rows = np.max([row_maxima(weights[node.input[1]]) for node in stream.makers], axis=0)
    shares = np.max([_shares(view, weights, node) for node in stream.takers], axis=0)
    alive = np.isfinite(activations) & (activations > 0) & (shares > 0) & (rows > 0)
    exponents = np.zeros(len(alive), np.int64)
    if alive.any():
        rows, shares, activations = rows[alive], shares[alive], activations[alive]
        wanted = np.log2(shares / activations)
        if not all(depthwise(view, node) for node in stream.takers):
            # Depthwise weights have a scale for each channel, and lose nothing by any exponent.
            wanted /= 2
        wanted = np.round(wanted - np.median(wanted))
        wanted[np.abs(wanted) <= _NEGLIGIBLE] = 0
        lowest = np.minimum(0, np.ceil(np.log2(_SMALLEST_ROW / rows)))
        exponents[alive] = np.clip(wanted, np.maximum(lowest, -LARGEST_EXPONENT), LARGEST_EXPONENT)
    return [int(exponent) for exponent in exponents]


def _shares(view: GraphView, weights: _Weights, node: onnx.NodeProto) -> NDArray[np.float32]:
    found = weights[node.input[1]]
    return np.ones(len(found), np.float32) if depthwise(view, node) else _column_shares(found)


def _column_shares(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest weight on each input channel, in units of the largest of the same output."""
    magnitudes = np.abs(weights).reshape(*weights.shape[:2], -1).max(axis=2)
    rows = np.maximum(magnitudes.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    found: NDArray[np.float32] = (magnitudes / rows).max(axis=0)
    return found
