"""Q/DQ pairs around what is quantised: the same places in INT8 and in FP8."""

from collections.abc import Callable

import onnx

from fer_edge.export.graph.view import GraphView, copy_of, drop_unused, finish, replace_nodes
from fer_edge.export.quantization.opening import Opened


def dequantized(tensor: str) -> str:
    """The name of what comes out of a tensor's pair."""
    return f"{tensor}/dequantized"


def with_pairs(
    opened: Opened,
    pair: Callable[[onnx.ModelProto, str], list[onnx.NodeProto]],
    weights: Callable[[onnx.ModelProto, GraphView, onnx.NodeProto], onnx.NodeProto],
) -> onnx.ModelProto:
    """The graph of record of a precision.

    Parameters
    ----------
    opened : Opened
    pair : callable(graph, tensor)
        Nodes that quantise an activation and give it back as :func:`dequantized`.
    weights : callable(graph, float32 graph, layer)
        Stores the weight of a layer in fewer bits; the node returned turns it back into float.
    """
    placement, view = opened.placement, opened.view
    out = copy_of(opened.model)
    identities = set(placement.identities)
    nodes: list[onnx.NodeProto] = []
    for node in out.graph.node:
        if node.name in placement.layers:
            node.input[0] = dequantized(node.input[0])
            nodes.append(weights(out, view, node))
        for index in range(len(node.input)):
            if (node.name, index) in identities:
                node.input[index] = dequantized(node.input[index])
        nodes.append(node)
        for tensor in node.output:
            if tensor in placement.activations:
                nodes += pair(out, tensor)
    replace_nodes(out, nodes)
    drop_unused(out)
    return finish(out)
