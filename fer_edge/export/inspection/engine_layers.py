"""An INT8 graph held against the engine that TensorRT made of it."""

from collections.abc import Mapping, Sequence

import onnx

from fer_edge.engines.tensorrt import EngineLayer
from fer_edge.export.graph.view import GraphView


def not_int8(
    graph: onnx.ModelProto, layers: Sequence[EngineLayer], kept: Mapping[str, str]
) -> dict[str, str]:
    """Convolutions that an engine does not run in INT8, and the likely cause.

    Parameters
    ----------
    graph : onnx.ModelProto
        The INT8 graph of record.
    layers : sequence of EngineLayer
        Of the engine built from it.
    kept : mapping of str to str
        Layers that the calibration table keeps in floating point, and why.
    """
    view = GraphView(graph)
    found = {}
    for node in view.nodes:
        if node.op_type != "Conv":
            continue
        running = [layer for layer in layers if node.name in layer.nodes]
        if not any(layer.runs_int8 for layer in running):
            found[node.name] = kept.get(node.name) or _cause(view, node, running)
    return found


def _cause(view: GraphView, node: onnx.NodeProto, running: Sequence[EngineLayer]) -> str:
    for tensor, what in zip(node.input, ("input", "weight"), strict=False):
        source = view.producer.get(tensor)
        if source is None or source.op_type != "DequantizeLinear":
            return f"its {what} has no Q/DQ pair"
    if not running:
        return "TensorRT's report on the engine does not name it"
    shape = view.array(view.producer[node.input[1]].input[0]).shape
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    inputs, outputs = shape[1], shape[0] // groups
    # What NVIDIA's own quantiser leaves out:
    # https://github.com/NVIDIA/TensorRT-Model-Optimizer, find_nodes_from_convs_to_exclude
    if min(inputs, outputs) < 16 and (inputs % 8 or outputs % 8):
        each = f" in each of {groups} groups" if groups > 1 else ""
        return (
            f"{inputs} channels in and {outputs} out{each}: TensorRT's INT8 convolutions want at "
            "least 16, or multiples of 8"
        )
    layer = running[0]
    data = layer.inputs[0] if layer.inputs else None
    if layer.weights == "int8" and data is not None:
        return f"only its weights are int8: its input comes as {data}"
    return f"TensorRT took {layer.tactic or layer.type} on {data or 'an unknown type'}"
