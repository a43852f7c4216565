"""INT8 written in the graph: the Q/DQ graph of record, and its form for CPUs."""

import numpy as np
import onnx
from onnx import helper

from fer_edge.contract import INPUT_NAME
from fer_edge.errors import ExportError
from fer_edge.export.bias_correction import corrected
from fer_edge.export.graph import (
    GraphView,
    copy_of,
    drop_unused,
    finish,
    replace_nodes,
    set_constant,
)
from fer_edge.export.placement import place
from fer_edge.export.scales import integers, weight_scales
from fer_edge.export.table import CalibrationTable

CENTRE = 128
"""Zero point that turns a symmetric int8 into a uint8 with the same steps."""


def quantize(model: onnx.ModelProto, table: CalibrationTable) -> onnx.ModelProto:
    """Insert Q/DQ pairs: int8, symmetric, per tensor for activations, per channel for weights.

    Biases stay float32, and so does everything between a convolution and the add and ReLU that
    TensorRT fuses into it.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    table : CalibrationTable
        Made from this graph.

    Raises
    ------
    CalibrationError
        The table belongs to another graph.
    ExportError
        The graph is quantised already.
    """
    view = GraphView(model)
    if any(node.op_type == "QuantizeLinear" for node in view.nodes):
        raise ExportError("The graph has Q/DQ nodes already.", hint="Export from the fp32 graph.")
    table.check(model)
    placement = place(model, table.kept)
    model = corrected(table.prepared(model), table.shifts, placement.layers)
    view = GraphView(model)
    out = copy_of(model)
    identities = set(placement.identities)
    nodes: list[onnx.NodeProto] = []
    for node in out.graph.node:
        if node.name in placement.layers:
            node.input[0] = _dequantized(node.input[0])
            nodes.append(_quantize_weights(out, view, node))
        for index in range(len(node.input)):
            if (node.name, index) in identities:
                node.input[index] = _dequantized(node.input[index])
        nodes.append(node)
        for tensor in node.output:
            if tensor in placement.activations:
                nodes += _pair(out, tensor, tensor, table.scales[tensor], np.int8(0))
    replace_nodes(out, nodes)
    drop_unused(out)
    return finish(out)


def cpu_form(model: onnx.ModelProto, table: CalibrationTable) -> onnx.ModelProto:
    """The INT8 graph as ONNX Runtime's x86 and Arm kernels want it.

    Weights are those of the graph of record, activations are uint8. After a ReLU the zero point is
    0, so that the ReLU becomes part of the convolution; no half of the integers is left to negative
    values there, and the steps are finer. Elsewhere it is 128, with the steps of the graph of
    record. The uint8 pixels go into the first convolution as they are.

    Three roundings come on top, since ONNX Runtime adds and pools integers only: biases are int32,
    the main branch of a residual add is quantised, over what it reaches on either side of zero, and
    so is what the average pool gives.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    table : CalibrationTable
        Made from this graph.
    """
    table.check(model)
    placement = place(model, table.kept)
    model = corrected(table.prepared(model), table.shifts, placement.layers)
    view = GraphView(model)
    scales, zeros = {}, {}
    for tensor in (*placement.activations, *placement.cpu_activations):
        scales[tensor] = table.scales[tensor]
        if tensor in table.zero_points:
            zeros[tensor] = np.uint8(table.zero_points[tensor])
        elif _never_negative(view, tensor):
            scales[tensor] *= table.reach * 127 / 255
            zeros[tensor] = np.uint8(0)
        else:
            zeros[tensor] = np.uint8(CENTRE)
    pools = {}
    for node in view.nodes:
        if node.op_type == "MaxPool" and node.output[0] in scales:
            # The maximum commutes with quantisation, so it is taken on the integers.
            pools[node.name] = node.input[0]
            scales[node.input[0]] = scales[node.output[0]]
            zeros[node.input[0]] = zeros[node.output[0]]
    out = copy_of(model)
    nodes: list[onnx.NodeProto] = []
    for node in out.graph.node:
        source, target = node.input[0], node.output[0]
        if node.op_type == "Cast":
            continue
        if node.op_type == "Sub":
            # Where the first layer stays in floating point, this is the subtraction of 128.
            scales.setdefault(target, 1.0)
            nodes.append(_dequantize(out, INPUT_NAME, target, scales[target], np.uint8(CENTRE)))
            continue
        if node.name in pools:
            node.input[0], node.output[0] = f"{source}/quantized", f"{target}/quantized"
            maxima = node.output[0]
            nodes += [node, _dequantize(out, maxima, target, scales[target], zeros[target])]
            continue
        if node.name in placement.layers:
            nodes.append(_quantize_weights(out, view, node))
            if len(node.input) > 2:
                nodes.append(_quantize_bias(out, view, node, scales[source]))
        for index, name in enumerate(node.input):
            if name in scales:
                node.input[index] = _dequantized(name)
        nodes.append(node)
        if target in scales:
            nodes += _pair(out, target, target, scales[target], zeros[target])
    replace_nodes(out, nodes)
    drop_unused(out)
    return finish(out)


def _never_negative(view: GraphView, tensor: str) -> bool:
    node = view.producer[tensor]
    if node.op_type in ("MaxPool", "GlobalAveragePool", "Flatten"):
        return _never_negative(view, node.input[0])
    return node.op_type == "Relu"


def _dequantized(tensor: str) -> str:
    return f"{tensor}/dequantized"


def _pair(
    model: onnx.ModelProto, source: str, tensor: str, scale: float, zero: np.generic
) -> list[onnx.NodeProto]:
    """Quantise ``source``; the real numbers come back as ``tensor``/dequantized."""
    integers = f"{tensor}/quantized"
    return [
        _quantize(model, source, integers, scale, zero),
        _dequantize(model, integers, tensor, scale, zero),
    ]


def _quantize(
    model: onnx.ModelProto, source: str, target: str, scale: float, zero: np.generic
) -> onnx.NodeProto:
    names = _scale(model, target.removesuffix("/quantized"), scale, zero)
    return helper.make_node("QuantizeLinear", [source, *names], [target], name=target)


def _dequantize(
    model: onnx.ModelProto, integers: str, tensor: str, scale: float, zero: np.generic
) -> onnx.NodeProto:
    target = _dequantized(tensor)
    names = _scale(model, tensor, scale, zero)
    return helper.make_node("DequantizeLinear", [integers, *names], [target], name=target)


def _scale(model: onnx.ModelProto, tensor: str, scale: float, zero: np.generic) -> list[str]:
    return [
        set_constant(model, f"{tensor}/scale", np.array(scale, np.float32)),
        set_constant(model, f"{tensor}/zero_point", np.asarray(zero)),
    ]


def _quantize_weights(
    model: onnx.ModelProto, view: GraphView, node: onnx.NodeProto
) -> onnx.NodeProto:
    """Store the weight as int8; the node returned turns it back into float."""
    name = node.input[1]
    weights = view.array(name)
    if node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute):
        raise ExportError(f"{node.name}: a Gemm whose weight is not transposed is not supported.")
    scales = weight_scales(weights)
    rounded = integers(weights, scales)
    inputs = [
        set_constant(model, f"{name}/quantized", rounded),
        set_constant(model, f"{name}/scale", scales),
        set_constant(model, f"{name}/zero_point", np.zeros(len(scales), np.int8)),
    ]
    node.input[1] = _dequantized(name)
    return helper.make_node("DequantizeLinear", inputs, [node.input[1]], name=node.input[1], axis=0)


def _quantize_bias(
    model: onnx.ModelProto, view: GraphView, node: onnx.NodeProto, input_scale: float
) -> onnx.NodeProto:
    """Store the bias as int32 in units of input scale times weight scale."""
    name = node.input[2]
    weights = view.array(node.input[1].removesuffix("/dequantized"))
    scales = (weight_scales(weights) * np.float32(input_scale)).astype(np.float32)
    integers = np.round(view.array(name).astype(np.float64) / scales)
    limit = np.iinfo(np.int32)
    inputs = [
        set_constant(
            model, f"{name}/quantized", np.clip(integers, limit.min, limit.max).astype(np.int32)
        ),
        set_constant(model, f"{name}/scale", scales),
        set_constant(model, f"{name}/zero_point", np.zeros(len(scales), np.int32)),
    ]
    node.input[2] = _dequantized(name)
    return helper.make_node("DequantizeLinear", inputs, [node.input[2]], name=node.input[2], axis=0)
