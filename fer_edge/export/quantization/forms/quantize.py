"""INT8 written in the graph: the Q/DQ graph of record."""

import numpy as np
import onnx
from onnx import helper

from fer_edge.errors import ExportError
from fer_edge.export.graph.view import (
    GraphView,
    copy_of,
    drop_unused,
    finish,
    outputs_axis,
    replace_nodes,
    set_constant,
)
from fer_edge.export.quantization.bias_correction import corrected
from fer_edge.export.quantization.placement import check_any
from fer_edge.export.quantization.scales import integers, weight_scales
from fer_edge.export.quantization.table import CalibrationTable


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
        The graph is quantised already, or no layer of it can be.
    """
    view = GraphView(model)
    if any(node.op_type == "QuantizeLinear" for node in view.nodes):
        raise ExportError("The graph has Q/DQ nodes already.", hint="Export from the fp32 graph.")
    table.check(model)
    placement = table.placement(model)
    check_any(view, placement, table.model, table.kept)
    model = corrected(table.prepared(model), table.shifts, placement.layers)
    view = GraphView(model)
    out = copy_of(model)
    identities = set(placement.identities)
    nodes: list[onnx.NodeProto] = []
    for node in out.graph.node:
        if node.name in placement.layers:
            node.input[0] = dequantized(node.input[0])
            nodes.append(quantize_weights(out, view, node))
        for index in range(len(node.input)):
            if (node.name, index) in identities:
                node.input[index] = dequantized(node.input[index])
        nodes.append(node)
        for tensor in node.output:
            if tensor in placement.activations:
                nodes += pair(out, tensor, tensor, table.scales[tensor], np.int8(0))
    replace_nodes(out, nodes)
    drop_unused(out)
    return finish(out)


def dequantized(tensor: str) -> str:
    return f"{tensor}/dequantized"


def pair(
    model: onnx.ModelProto, source: str, tensor: str, scale: float, zero: np.generic
) -> list[onnx.NodeProto]:
    """Quantise ``source``; the real numbers come back as ``tensor``/dequantized."""
    integers = f"{tensor}/quantized"
    return [
        _to_integers(model, source, integers, scale, zero),
        dequantize(model, integers, tensor, scale, zero),
    ]


def _to_integers(
    model: onnx.ModelProto, source: str, target: str, scale: float, zero: np.generic
) -> onnx.NodeProto:
    names = _scale(model, target.removesuffix("/quantized"), scale, zero)
    return helper.make_node("QuantizeLinear", [source, *names], [target], name=target)


def dequantize(
    model: onnx.ModelProto, integers: str, tensor: str, scale: float, zero: np.generic
) -> onnx.NodeProto:
    target = dequantized(tensor)
    names = _scale(model, tensor, scale, zero)
    return helper.make_node("DequantizeLinear", [integers, *names], [target], name=target)


def _scale(model: onnx.ModelProto, tensor: str, scale: float, zero: np.generic) -> list[str]:
    return [
        set_constant(model, f"{tensor}/scale", np.array(scale, np.float32)),
        set_constant(model, f"{tensor}/zero_point", np.asarray(zero)),
    ]


def quantize_weights(
    model: onnx.ModelProto, view: GraphView, node: onnx.NodeProto
) -> onnx.NodeProto:
    """Store the weight as int8; the node returned turns it back into float."""
    name = node.input[1]
    weights, axis = view.array(name), outputs_axis(node)
    scales = weight_scales(weights, axis)
    rounded = integers(weights, scales, axis)
    inputs = [
        set_constant(model, f"{name}/quantized", rounded),
        set_constant(model, f"{name}/scale", scales),
        set_constant(model, f"{name}/zero_point", np.zeros(len(scales), np.int8)),
    ]
    node.input[1] = dequantized(name)
    target = node.input[1]
    return helper.make_node("DequantizeLinear", inputs, [target], name=target, axis=axis)
