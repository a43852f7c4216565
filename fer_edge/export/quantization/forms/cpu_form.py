"""The INT8 graph as ONNX Runtime's x86 and Arm kernels want it."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from fer_edge.export.graph.bounds import attribute, bounds, clamp
from fer_edge.export.graph.pixels import Pixels, centred_pixels, offsets_in_bias
from fer_edge.export.graph.view import (
    GraphView,
    copy_of,
    drop_unused,
    finish,
    outputs_axis,
    replace_nodes,
    set_constant,
)
from fer_edge.export.quantization.forms.pairs import dequantized
from fer_edge.export.quantization.forms.quantize import dequantize, pair, quantize_weights
from fer_edge.export.quantization.integer_operators import (
    GATES,
    PASSING,
    gate_line,
    integer_flow,
    slower_on_integers,
    uniform_slope,
)
from fer_edge.export.quantization.opening import open_graph
from fer_edge.export.quantization.placement import Placement
from fer_edge.export.quantization.scales import weight_scales
from fer_edge.export.quantization.table import CalibrationTable

CENTRE = 128
"""Zero point that turns a symmetric int8 into a uint8 with the same steps."""
LAST = 255


def cpu_form(
    model: onnx.ModelProto, table: CalibrationTable, *, means_in_bias: bool = False
) -> onnx.ModelProto:
    """The INT8 graph as ONNX Runtime's x86 and Arm kernels want it.

    Weights are those of the graph of record, activations are uint8. The uint8 pixels go into the
    first convolution as they are. Everything between the layers is on integers where ONNX Runtime
    has an operator for it (:mod:`.integer_operators`), as follows.

    A ReLU or Clip becomes part of the layer before it: the bounds are those of uint8, so that no
    integer is left to values that cannot be, and the steps are finer. Elsewhere the zero point is
    128, with the steps of the graph of record. Bounds that uint8 does not have are a Clip of
    integers. The maximum commutes with quantisation, so max pools are on integers, and so are
    HardSigmoid and HardSwish: a Clip of the same integers with another scale and zero point.

    More roundings come on top, since ONNX Runtime adds, multiplies and pools integers only: biases
    are int32, and what goes into sums, products and average pools, and comes out of them, is
    quantised, over what it reaches on either side of zero.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    table : CalibrationTable
        Made from this graph.
    means_in_bias : bool
        Take the pixels as they are where a mean for each channel is subtracted from them, too. The
        means go into the bias of the first layer, and its padding around the picture stands for
        their average, as integers have one zero point: for pictures whose border is a small part.
    """
    opened = open_graph(model, table, kept=_cpu_kept(model, table), shifted=True)
    model = opened.model
    pixels = centred_pixels(GraphView(model))
    if pixels is not None and pixels.offsets is not None:
        folded = offsets_in_bias(model, pixels) if means_in_bias else None
        model, pixels = (model, None) if folded is None else (folded, pixels)
    return _Rewrite(model, table, opened.placement, pixels).graph()


def cpu_placement(model: onnx.ModelProto, table: CalibrationTable) -> Placement:
    """What is quantised in the form for CPUs."""
    return table.placement(model, _cpu_kept(model, table))


def _cpu_kept(model: onnx.ModelProto, table: CalibrationTable) -> set[str]:
    """Layers that stay in floating point in the form for CPUs."""
    whole = table.placement(model)
    slower = slower_on_integers(model, whole.layers, whole.activations, table.floating)
    return {*table.kept, *slower}


def kept_on_cpus(model: onnx.ModelProto, table: CalibrationTable) -> dict[str, str]:
    """Nodes that the form for CPUs computes in float32 between integers, and why."""
    whole = table.placement(model)
    slower = slower_on_integers(model, whole.layers, whole.activations, table.floating)
    placement = cpu_placement(model, table)
    view = GraphView(model)
    flow = integer_flow(view, placement.layers, placement.activations, table.floating)
    return {**slower, **flow.floating}


@dataclass(frozen=True)
class _Integers:
    """What the uint8 values of a tensor mean."""

    scale: float
    zero: int

    def nearest(self, value: float) -> int:
        """The integer for a real number, 0 to 255."""
        return int(np.clip(np.round(value / self.scale) + self.zero, 0, LAST))


class _Rewrite:
    """The nodes of a float32 graph as they become those of the form for CPUs."""

    def __init__(
        self,
        model: onnx.ModelProto,
        table: CalibrationTable,
        placement: Placement,
        pixels: Pixels | None,
    ) -> None:
        self._view = GraphView(model)
        self._table = table
        self._placement = placement
        self._pixels = pixels
        self._out = copy_of(model)
        self._dropped: dict[str, str] = {}
        """What a Clip gives that became part of a layer, and what the layer gives."""
        self._integer = integer_flow(
            self._view, placement.layers, placement.activations, table.floating
        ).operators
        self._meaning: dict[str, _Integers] = {}
        """Tensor to its integers."""
        self._find_integers()

    def _find_integers(self) -> None:
        placement, meaning = self._placement, self._meaning
        for tensor in (*placement.activations, *placement.cpu_activations):
            # Pixels are integers already, and their zero point is what is subtracted.
            pixels = self._pixels
            if pixels is not None and tensor == pixels.tensor:
                meaning[tensor] = _Integers(1.0, pixels.zero)
            else:
                meaning[tensor] = self._own(tensor)
        for node in self._view.nodes:
            if node.op_type in GATES and node.name in self._integer:
                source = node.input[0]
                meaning[source] = _reaching(meaning[source], *gate_line(node))
        for node in reversed(self._view.nodes):
            target = node.output[0]
            if target in meaning and self._passes(node):
                meaning.setdefault(node.input[0], meaning[target])
            elif target in meaning and node.op_type == "Concat" and node.name in self._integer:
                for source in node.input:
                    meaning.setdefault(source, meaning[target])
        for node in self._view.nodes:
            source, target = node.input[0], node.output[0]
            on_integers = self._passes(node) and target in meaning
            if on_integers or (
                (node.op_type in ("Relu", "Clip") and node.name in self._integer)
                and source in meaning
            ):
                meaning[target] = meaning[source]
            elif node.op_type == "HardSigmoid" and node.name in self._integer:
                meaning[target] = _gate(meaning[source], *gate_line(node))

    def _passes(self, node: onnx.NodeProto) -> bool:
        """Whether a node gives the integers that it takes."""
        return node.op_type == "MaxPool" or (node.op_type in PASSING and node.name in self._integer)

    def _own(self, tensor: str) -> _Integers:
        """Scale and zero point from the calibration table and from what operators bound."""
        measured = tensor
        while measured not in self._table.scales:
            # Where no layer is kept in floating point, it has the integers of what takes it.
            measured = self._view.consumers[measured][0].output[0]
        scale, zero = self._table.scales[measured], self._table.zero_points.get(measured)
        if zero is not None:
            return _Integers(scale, zero)
        low, high = bounds(self._view, tensor)
        low = max(low, self._table.lows.get(measured, low))
        if low >= 0:
            finer = scale * (self._table.reach * 127 / LAST)
            return _Integers(min(finer, high / LAST) if high > 0 else finer, 0)
        largest = 127 * scale
        if low > -largest or high < largest:
            low, high = min(max(low, -largest), 0.0), max(min(high, largest), 0.0)
            step = (high - low) / LAST
            return _Integers(step, int(np.round(-low / step)))
        return _Integers(scale, CENTRE)

    def graph(self) -> onnx.ModelProto:
        out = self._out
        nodes = [new for node in list(out.graph.node) for new in self._rewritten(node)]
        replace_nodes(out, nodes)
        drop_unused(out)
        return finish(out)

    def _rewritten(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        source, target = node.input[0], node.output[0]
        pixels = self._pixels
        if pixels is not None and pixels.tensor in self._meaning and node.name in pixels.nodes:
            return self._centred(pixels) if target == pixels.tensor else []
        meaning = self._meaning.get(target)
        if meaning is not None and self._passes(node):
            node.input[0], node.output[0] = f"{source}/quantized", f"{target}/quantized"
            return [node, self._restored(target)]
        if node.name in self._integer:
            if node.op_type in ("Relu", "Clip"):
                return self._clamped(node)
            if node.op_type in GATES:
                return self._gated(node)
            if node.op_type == "PRelu":
                node = helper.make_node(
                    "LeakyRelu", [source], [target], node.name,
                    alpha=uniform_slope(self._view, node),
                )  # fmt: skip
        return self._between(node)

    def _centred(self, pixels: Pixels) -> list[onnx.NodeProto]:
        """The pixels as integers, whose zero point is what is subtracted from them."""
        nodes, source = [], pixels.source
        if pixels.turned is not None:
            node = onnx.NodeProto()
            node.CopyFrom(pixels.turned)
            node.input[0] = source
            nodes, source = [node], node.output[0]
        zero = np.uint8(pixels.zero)
        return [*nodes, dequantize(self._out, source, pixels.tensor, 1.0, zero)]

    def _between(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The node between DequantizeLinear and QuantizeLinear, where its tensors have integers."""
        nodes, source, target = [], node.input[0] if node.input else "", node.output[0]
        if node.name in self._placement.layers:
            nodes.append(quantize_weights(self._out, self._view, node))
            if len(node.input) > 2:
                scale = self._meaning[source].scale
                nodes.append(_quantize_bias(self._out, self._view, node, scale))
        elif self._view.is_layer(node) and self._leads_to_integers(target):
            nodes += self._float_input(node)
        for index, name in enumerate(node.input):
            node.input[index] = self._real(name)
        nodes.append(node)
        for tensor in node.output:
            nodes += self._given(tensor, tensor)
        return nodes

    def _leads_to_integers(self, tensor: str) -> bool:
        while tensor not in self._meaning:
            follower = self._view.only_consumer(tensor)
            if follower is None or clamp(self._view, follower) is None:
                return False
            tensor = follower.output[0]
        return True

    def _float_input(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Read integers with a scale for each channel, though all are the same.

        ONNX Runtime would quantise the weights of a layer that it finds between integers, all with
        one scale, however well a layer was kept in floating point: but only where the scale of the
        input is one number (its WeightBiasQuantization).
        """
        source, meaning = node.input[0], self._meaning.get(node.input[0])
        if meaning is None or attribute(node, "transA", 0):
            return []
        weights = self._view.array(node.input[1]).shape
        inputs_axis = 1 - outputs_axis(node)
        # Of the weights of a Conv this axis is that of one group, of a ConvTranspose of all.
        groups = attribute(node, "group", 1) if inputs_axis == 1 else 1
        channels = weights[inputs_axis] * groups
        node.input[0] = f"{node.name}/input"
        inputs = [
            f"{source}/quantized",
            set_constant(
                self._out, f"{node.name}/input/scale", np.full(channels, meaning.scale, np.float32)
            ),
            set_constant(
                self._out,
                f"{node.name}/input/zero",
                np.full(channels, meaning.zero, np.uint8),
            ),
        ]
        return [
            helper.make_node("DequantizeLinear", inputs, [node.input[0]], node.input[0], axis=1)
        ]

    def _real(self, tensor: str) -> str:
        """The real numbers of a tensor."""
        return dequantized(tensor) if tensor in self._meaning else self._dropped.get(tensor, tensor)

    def _given(self, source: str, tensor: str) -> list[onnx.NodeProto]:
        """Quantise what a node gives, where the tensor has integers."""
        meaning = self._meaning.get(tensor)
        if meaning is None:
            return []
        return pair(self._out, source, tensor, meaning.scale, np.uint8(meaning.zero))

    def _restored(self, tensor: str) -> onnx.NodeProto:
        meaning = self._meaning[tensor]
        return dequantize(self._out, f"{tensor}/quantized", tensor, meaning.scale,
                          np.uint8(meaning.zero))  # fmt: skip

    def _clamped(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """A Relu or Clip: the bounds of uint8, or a Clip of integers."""
        source, target = node.input[0], node.output[0]
        limits, meaning = clamp(self._view, node), self._meaning.get(target)
        assert limits is not None
        if meaning is None:
            return self._between(node)
        low, high = meaning.nearest(limits[0]), meaning.nearest(limits[1])
        if source in self._meaning:
            return [*self._clip(source, target, low, high), self._restored(target)]
        if node.op_type == "Relu" and meaning.zero == 0:
            return self._between(node)  # The runtime drops it.
        real = self._real(source)
        if (low, high) == (0, LAST):
            return self._given(real, target)
        nodes = self._given(real, target)
        nodes[0].output[0] = f"{source}/quantized"
        return [nodes[0], *self._clip(source, target, low, high), nodes[1]]

    def _clip(self, source: str, target: str, low: int, high: int) -> list[onnx.NodeProto]:
        limits = [
            set_constant(self._out, f"{target}/{name}", np.array(value, np.uint8))
            for name, value in (("low", low), ("high", high))
        ]
        result = f"{target}/quantized"
        inputs = [f"{source}/quantized", *limits]
        return [helper.make_node("Clip", inputs, [result], f"{target}/integers")]

    def _gated(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """HardSigmoid or HardSwish of integers."""
        source, target = node.input[0], node.output[0]
        gate = _gate(self._meaning[source], *gate_line(node))
        tensor = target if node.op_type == "HardSigmoid" else f"{target}/gate"
        self._meaning[tensor] = gate
        nodes = self._clip(source, tensor, gate.nearest(0), gate.nearest(1))
        nodes.append(self._restored(tensor))
        if node.op_type == "HardSwish":
            product = [dequantized(source), dequantized(tensor)]
            nodes.append(helper.make_node("Mul", product, [target], node.name))
            nodes += self._given(target, target)
        return nodes


def _gate(integers: _Integers, slope: float, offset: float) -> _Integers:
    """The same integers, where each stands for ``slope`` times as much and ``offset``."""
    scale = slope * integers.scale
    return _Integers(scale, integers.zero - round(offset / scale))


def _reaching(integers: _Integers, slope: float, offset: float) -> _Integers:
    """Steps of which a whole number leads from zero to where the line is zero, and that reach it.

    So the zero point of what the line gives is an integer of uint8.
    """
    root = offset / slope
    low = max(root, integers.scale * integers.zero)
    high = integers.scale * (LAST - integers.zero)
    steps = max(int(root * LAST / (low + high)), 1)
    scale = root / steps
    return _Integers(scale, min(max(int(np.ceil(low / scale)), steps), LAST))


def _quantize_bias(
    model: onnx.ModelProto, view: GraphView, node: onnx.NodeProto, input_scale: float
) -> onnx.NodeProto:
    """Store the bias as int32 in units of input scale times weight scale."""
    name = node.input[2]
    weights = view.array(node.input[1].removesuffix("/dequantized"))
    own = weight_scales(weights, outputs_axis(node))
    scales = (own * np.float32(input_scale)).astype(np.float32)
    integers = np.round(view.array(name).astype(np.float64) / scales)
    # The products come on top, in the same 32 bits, which wrap around.
    limit = np.iinfo(np.int32).max - LAST * CENTRE * weights.size // len(scales)
    inputs = [
        set_constant(model, f"{name}/quantized", np.clip(integers, -limit, limit).astype(np.int32)),
        set_constant(model, f"{name}/scale", scales),
        set_constant(model, f"{name}/zero_point", np.zeros(len(scales), np.int32)),
    ]
    node.input[2] = dequantized(name)
    return helper.make_node("DequantizeLinear", inputs, [node.input[2]], name=node.input[2], axis=0)
