"""Precision written in the graph: float16 inside, or weights stored as float16."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fer_edge.engines.base import Faces
from fer_edge.errors import ExportError
from fer_edge.export.graph import GraphView, copy_of, finish, replace_nodes
from fer_edge.export.observe import observe

FLOAT16_MAX = 65504.0


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute in float16 wherever the graph computes in float32.

    The one transformation for FP16 graphs and for the unquantised part of INT8 graphs when a
    TensorRT engine is built: a strongly typed network runs in the types that the graph states.
    Softmax stays float32, and so does the output. Scales of Q/DQ nodes become float16, so the
    graph must be of opset 19 or newer.

    Raises
    ------
    ExportError
        A weight is outside the range of float16.
    """
    out = copy_of(model)
    for tensor in out.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            value = numpy_helper.to_array(tensor)
            if np.abs(value).max(initial=0) > FLOAT16_MAX:
                raise ExportError(
                    f"{tensor.name} holds {np.abs(value).max():.3g}, more than float16 can "
                    f"({FLOAT16_MAX:.0f}).",
                    hint="Export this model in fp32.",
                )
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), tensor.name))
    nodes: list[onnx.NodeProto] = []
    for node in out.graph.node:
        if node.op_type == "Cast":
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                    attribute.i = TensorProto.FLOAT16
        if node.op_type == "Softmax":
            wide = f"{node.name}/float32"
            nodes.append(
                helper.make_node("Cast", [node.input[0]], [wide], name=wide, to=TensorProto.FLOAT)
            )
            node.input[0] = wide
        nodes.append(node)
    replace_nodes(out, nodes)
    return finish(out)


def check_range(model: onnx.ModelProto, faces: Faces) -> None:
    """Raise ExportError if a float32 graph computes values on ``faces`` that float16 cannot hold.

    Running the float16 graph would not tell: ONNX Runtime computes it in float32 on CPUs.
    """
    view = GraphView(model)
    tensors = [name for node in view.nodes for name in node.output if name not in view.outputs]
    for values in observe(model, tensors, faces):
        for tensor, value in zip(tensors, values, strict=True):
            largest = float(np.abs(value).max())
            if not largest <= FLOAT16_MAX:
                raise ExportError(
                    f"{tensor} reaches {largest:.3g}, more than float16 can ({FLOAT16_MAX:.0f}).",
                    hint="Export this model in fp32.",
                )


def store_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights as float16, cast to float32 as the graph is loaded: half the file.

    Runtimes fold the casts once at load, so speed is that of the float32 graph. Weights are
    rounded; :func:`widen` gives the float32 graph with the rounded weights back.
    """
    out = copy_of(model)
    view = GraphView(out)
    weights = {
        name for node in view.nodes if node.op_type in ("Conv", "Gemm") for name in node.input[1:]
    }
    casts = []
    for tensor in out.graph.initializer:
        if tensor.name in weights:
            half = f"{tensor.name}.half"
            value = numpy_helper.to_array(tensor).astype(np.float16)
            casts.append(
                helper.make_node("Cast", [half], [tensor.name], name=half, to=TensorProto.FLOAT)
            )
            tensor.CopyFrom(numpy_helper.from_array(value, half))
    replace_nodes(out, [*casts, *out.graph.node])
    return finish(out)


def widen(model: onnx.ModelProto) -> onnx.ModelProto:
    """Undo :func:`store_half`: casts of float16 constants become float32 constants."""
    out = copy_of(model)
    view = GraphView(out)
    kept = []
    for node in out.graph.node:
        if node.op_type == "Cast" and node.input[0] in view.constants:
            tensor = view.constants[node.input[0]]
            value = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(value, node.output[0]))
        else:
            kept.append(node)
    replace_nodes(out, kept)
    return out


def round_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float32 graph whose weights are all float16 numbers."""
    return widen(store_half(model))
