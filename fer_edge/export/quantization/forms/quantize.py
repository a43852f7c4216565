"""INT8 written in the graph: the Q/DQ graph of record."""

import numpy as np
import onnx
from onnx import helper

from fer_edge.export.graph.view import (
    GraphView,
    outputs_axis,
    set_constant,
)
from fer_edge.export.quantization.forms.pairs import dequantized, with_pairs
from fer_edge.export.quantization.opening import open_graph
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
    opened = open_graph(model, table, shifted=True)
    check_any(GraphView(model), opened.placement, table.model, table.kept)
    return with_pairs(
        opened,
        lambda out, tensor: pair(out, tensor, tensor, table.scales[tensor], np.int8(0)),
        quantize_weights,
    )


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
