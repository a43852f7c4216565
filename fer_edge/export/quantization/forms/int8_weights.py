"""Weights stored as INT8 alone: the float32 graph is in the INT8 graph, to the last bit."""

import numpy as np
import onnx

from fer_edge.errors import ExportError
from fer_edge.export.graph.view import (
    GraphView,
    copy_of,
    drop_unused,
    finish,
    graph_hash,
    outputs_axis,
    replace_nodes,
    set_constant,
)
from fer_edge.export.quantization.equalisation import lift_small_weights
from fer_edge.export.quantization.placement import quantised_layers
from fer_edge.export.quantization.scales import per_channel, quantized_weights


def round_to_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float32 graph whose weights are what INT8 makes of them, wherever INT8 takes a layer.

    Before, magnitude is moved to weights that are too small for its steps, unless all lie on their
    steps already.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    """
    rounded = _rounded(model)
    if graph_hash(rounded) == graph_hash(model):
        return rounded
    return _rounded(lift_small_weights(model))


def _rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    out = copy_of(model)
    view = GraphView(model)
    taken = set(quantised_layers(view))
    for node in view.nodes:
        if node.name in taken:
            weights = view.array(node.input[1])
            set_constant(out, node.input[1], quantized_weights(weights, outputs_axis(node)))
    return out


def without_pairs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Undo :func:`~fer_edge.export.quantization.forms.quantize.quantize`.

    Weights are what INT8 made of them, biases with the shifts that they were given: of a graph of
    :func:`round_to_int8`, which has neither errors nor shifts, this gives the float32 graph back.

    Parameters
    ----------
    model : onnx.ModelProto
        An INT8 graph of record.

    Raises
    ------
    ExportError
        What is left is not a valid graph.
    """
    out = copy_of(model)
    view = GraphView(model)
    restored: dict[str, str] = {}
    nodes = []
    for node in out.graph.node:
        if node.op_type == "QuantizeLinear":
            restored[node.output[0]] = restored.get(node.input[0], node.input[0])
        elif node.op_type == "DequantizeLinear" and node.input[0] in view.constants:
            restored[node.output[0]] = _floating(out, view, node)
        elif node.op_type == "DequantizeLinear":
            restored[node.output[0]] = restored[node.input[0]]
        else:
            for index, name in enumerate(node.input):
                node.input[index] = restored.get(name, name)
            nodes.append(node)
    replace_nodes(out, nodes)
    drop_unused(out)
    return finish(out)


def check_restored(quantised: onnx.ModelProto, model: onnx.ModelProto) -> None:
    """Raise ExportError unless :func:`without_pairs` gives the float32 graph ``model`` back."""
    if graph_hash(without_pairs(quantised)) != graph_hash(model):
        raise ExportError(
            "The float32 graph cannot be made again of the INT8 graph.",
            hint="Leave out --int8-weights.",
        )


def _floating(model: onnx.ModelProto, view: GraphView, node: onnx.NodeProto) -> str:
    """Add the constant that a DequantizeLinear computes; returns its name."""
    steps, scales = view.array(node.input[0]), view.array(node.input[1])
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    weights = steps.astype(np.float32) * per_channel(scales, steps.ndim, axis)
    return set_constant(model, node.input[0].removesuffix("/quantized"), weights)
