"""Precision written in the graph: float16 inside, or weights stored as float16."""

from collections.abc import Callable, Collection
from functools import cache

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fer_edge.engines.base import Faces
from fer_edge.errors import ExportError
from fer_edge.export.graph.inner_tensors import observe
from fer_edge.export.graph.view import (
    OPSET,
    GraphView,
    copy_of,
    drop_unused,
    finish,
    replace_nodes,
    set_constant,
)
from fer_edge.export.quantization.scales import FLOAT16_MAX

LOSS_LIMIT = 0.01
"""Relative error of its output above which a node stays in float32. Rounding alone costs 0.0005 at
most, measured on every node of the registered models with random weights."""


def to_float16(model: onnx.ModelProto, kept: Collection[str] = ()) -> onnx.ModelProto:
    """Compute in float16 what the graph computes in float32, but for the nodes in ``kept``.

    The one transformation for FP16 graphs and for the unquantised part of INT8 and FP8 graphs when
    a TensorRT engine is built: a strongly typed network runs in the types that the graph states.
    Softmax stays float32, and so does the output. Scales of Q/DQ nodes take the type of what they
    feed, so the graph must be of opset 19 or newer.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph, quantised or not.
    kept : collection of str
        Names of nodes that stay in float32; :func:`needs_float32` finds those that must.

    Raises
    ------
    ExportError
        A weight of another node is outside the range of float16.
    """
    out = copy_of(model)
    types = _Types(out, kept)
    for node in model.graph.node:
        types.add(node)
    replace_nodes(out, types.nodes)
    drop_unused(out)
    return finish(out)


class _Types:
    """The nodes of a graph that becomes float16, with casts where float32 and float16 meet."""

    def __init__(self, model: onnx.ModelProto, kept: Collection[str]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._model = model
        self._kept = kept
        self._floats = float_tensors(model)
        self._given = {value.name for value in model.graph.output}
        self._constants = {
            t.name: numpy_helper.to_array(t)
            for t in model.graph.initializer
            if t.data_type == TensorProto.FLOAT
        }
        self._wide: dict[str, bool] = {}
        """Tensor to whether it is float32; of floating-point tensors that are computed."""
        self._dequantize: dict[str, onnx.NodeProto] = {}
        self._made: dict[tuple[str, bool], str] = {}

    def add(self, original: onnx.NodeProto) -> None:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        if node.op_type == "DequantizeLinear":
            # Made when it is asked for, in the type that is asked for: a cast between it and its
            # layer would keep TensorRT from fusing the two.
            self._dequantize[node.output[0]] = node
            return
        wide = (
            node.name in self._kept or node.op_type == "Softmax" or not _has_float16(node.op_type)
        )
        wide = wide or not self._given.isdisjoint(node.output)
        if node.op_type == "QuantizeLinear":
            wide = self._wide[node.input[0]]
        follows = types_follow(node)
        for index, name in enumerate(node.input):
            # The scales of a Resize are float32 whatever the rest is.
            node.input[index] = self._typed(name, wide or not follows(index))
        if node.op_type == "Cast":
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                    attribute.i = TensorProto.FLOAT if wide else TensorProto.FLOAT16
        elif node.op_type in _FROM_NOTHING:
            wide = True
        self.nodes.append(node)
        floats = [name for name in node.output if name in self._floats]
        self._wide.update(dict.fromkeys(floats, wide))

    def _typed(self, name: str, wide: bool) -> str:
        """Name of a tensor in float32 or float16, made if it is not there yet.

        Integers and what is true or false stay as they are.
        """
        if name not in self._floats and name not in self._dequantize:
            return name
        known = (name, wide)
        if known not in self._made:
            self._made[known] = self._make(name, wide)
        return self._made[known]

    def _make(self, name: str, wide: bool) -> str:
        if name in self._constants:
            return self._constant(name, wide)
        target = f"{name}/{'float32' if wide else 'float16'}"
        if name in self._dequantize:
            node = onnx.NodeProto()
            node.CopyFrom(self._dequantize[name])
            node.input[1] = self._typed(node.input[1], wide)
            if wide:
                node.name = node.output[0] = target
            self.nodes.append(node)
            return str(node.output[0])
        if self._wide.get(name, wide) == wide:
            return name
        to = TensorProto.FLOAT if wide else TensorProto.FLOAT16
        self.nodes.append(helper.make_node("Cast", [name], [target], name=target, to=to))
        return target

    def _constant(self, name: str, wide: bool) -> str:
        value = self._constants[name]
        if wide:
            return set_constant(self._model, f"{name}/float32", value)
        if largest := _excess(value):
            raise ExportError(
                f"{name} holds {largest}, more than float16 can ({FLOAT16_MAX:,.0f}).",
                hint="Export this model in fp32.",
            )
        return set_constant(self._model, name, value.astype(np.float16))


_FROM_NOTHING = ("ConstantOfShape", "Range", "EyeLike", "OneHot")
"""They give float32 of what is none."""


@cache
def _has_float16(operator: str) -> bool:
    """Whether ONNX has the operator in float16: Celu it has not."""
    return "tensor(float16)" in onnx.defs.get_schema(operator, OPSET).outputs[0].types


def types_follow(node: onnx.NodeProto) -> Callable[[int], bool]:
    """Which inputs of a node may be float16: those whose type the operator leaves open."""
    formal = onnx.defs.get_schema(node.op_type, OPSET).inputs

    def follows(index: int) -> bool:
        one = formal[min(index, len(formal) - 1)]
        return "tensor(float16)" in one.types

    return follows


def float_tensors(model: onnx.ModelProto) -> set[str]:
    """Tensors and constants that are float32."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    found = {t.name for t in inferred.initializer if t.data_type == TensorProto.FLOAT}
    for value in (*inferred.value_info, *inferred.output, *inferred.input):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            found.add(value.name)
    return found


def needs_float32(model: onnx.ModelProto, faces: Faces) -> dict[str, str]:
    """Nodes of a float32 graph that float16 would spoil, and how.

    A node stays in float32 if one of its weights, inputs or outputs is outside the range of
    float16, or if its output changes by more than :data:`LOSS_LIMIT` when weights, inputs and
    output are rounded to float16. The arithmetic between is float32: GPUs add up in float32 too,
    and ONNX Runtime has no other on CPUs.

    Parameters
    ----------
    model : onnx.ModelProto
        The float32 graph.
    faces : uint8 array, shape (N, channels, size, size)

    Raises
    ------
    ExportError
        The graph itself computes something that is not finite.
    """
    measured = _with_rounded_twins(model)
    view = GraphView(model)
    floats = float_tensors(model)
    tensors = [t for node in _judged(view) for t in node.output if t in floats]
    largest = dict.fromkeys(tensors, 0.0)
    energy, error = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, 0.0)
    measures = [f"{t}/{what}" for t in tensors for what in ("largest", "energy", "error")]
    for values in observe(measured, measures, faces):
        for tensor, (top, squares, difference) in zip(
            tensors, np.reshape(values, (-1, 3)).tolist(), strict=True
        ):
            if np.isnan(top):  # infinity may be a mask
                raise ExportError(
                    f"{tensor} is not a number in float32.",
                    hint="The training has diverged; train again with a lower --lr.",
                )
            largest[tensor] = max(largest[tensor], top)
            energy[tensor] += squares
            error[tensor] += difference
    needs = {}
    for node in _judged(view):
        reasons = [
            f"{t} reaches {largest[t]:,.0f}"
            for t in node.output
            if largest.get(t, 0.0) > FLOAT16_MAX
        ]
        reasons += [
            f"its input {t} reaches {largest[t]:,.0f}"
            for t in node.input
            if largest.get(t, 0.0) > FLOAT16_MAX
        ]
        reasons += [
            f"{t} holds {excess}"
            for t in node.input
            if t in view.constants and (excess := _excess(view.array(t)))
        ]
        losses = [np.sqrt(error[t] / energy[t]) for t in node.output if energy.get(t)]
        if reasons:
            needs[node.name] = f"{reasons[0]}, more than float16 can ({FLOAT16_MAX:,.0f})"
        elif max(losses, default=0.0) > LOSS_LIMIT:
            needs[node.name] = f"float16 changes its output by {100 * max(losses):.1f} %"
    return needs


def _excess(value: NDArray[np.float32]) -> str:
    """Largest magnitude of a constant if float16 cannot hold it, else nothing."""
    largest = np.abs(value).max(initial=0)
    return f"{largest:,.0f}" if value.dtype == np.float32 and largest > FLOAT16_MAX else ""


def _judged(view: GraphView) -> list[onnx.NodeProto]:
    """Nodes that could run in float16: not Softmax, and not the cast of the pixels."""
    return [node for node in view.nodes if node.op_type not in ("Softmax", "Cast", *_FROM_NOTHING)]


def _with_rounded_twins(model: onnx.ModelProto) -> onnx.ModelProto:
    """Beside every node one that computes it in float16, and measures of the difference.

    They are ``TENSOR/largest``, the largest magnitude, ``TENSOR/energy``, the sum of squares, and
    ``TENSOR/error``, the sum of squares of what the twin gives otherwise.
    """
    out = copy_of(model)
    view = GraphView(out)
    floats = float_tensors(model)
    nodes = list(out.graph.node)
    rounded: dict[str, str] = {}

    def add(operator: str, inputs: list[str], target: str, **attributes: int) -> str:
        nodes.append(helper.make_node(operator, inputs, [target], name=target, **attributes))
        return target

    def round_tensor(name: str) -> str:
        if name not in floats and not name.endswith("/twin"):
            return name
        if name in view.constants:
            value = view.array(name)
            if value.dtype != np.float32:
                return name
            with np.errstate(over="ignore"):
                half = value.astype(np.float16).astype(np.float32)
            return set_constant(out, f"{name}/rounded", half)
        half_name = add("Cast", [name], f"{name}/half", to=TensorProto.FLOAT16)
        return add("Cast", [half_name], f"{name}/rounded", to=TensorProto.FLOAT)

    for node in _judged(view):
        twin = onnx.NodeProto()
        twin.CopyFrom(node)
        twin.name = f"{node.name}/twin"
        follows = types_follow(node)
        for index, name in enumerate(node.input):
            if name not in rounded:
                rounded[name] = round_tensor(name)
            twin.input[index] = rounded[name] if follows(index) else name
        for index, tensor in enumerate(node.output):
            twin.output[index] = f"{tensor}/twin" if tensor else ""
        nodes.append(twin)
        for tensor in [name for name in node.output if name in floats]:
            magnitude = add("Abs", [tensor], f"{tensor}/magnitude")
            add("ReduceMax", [magnitude], f"{tensor}/largest", keepdims=0)
            add("ReduceSumSquare", [tensor], f"{tensor}/energy", keepdims=0)
            difference = add(
                "Sub", [tensor, round_tensor(f"{tensor}/twin")], f"{tensor}/difference"
            )
            add("ReduceSumSquare", [difference], f"{tensor}/error", keepdims=0)
    replace_nodes(out, nodes)
    return out


def store_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights as float16, cast to float32 as the graph is loaded: half the file.

    Runtimes fold the casts once at load, so speed is that of the float32 graph. Weights are
    rounded; :func:`widen` gives the float32 graph with the rounded weights back.
    """
    out = copy_of(model)
    view = GraphView(out)
    weights = {name for node in view.layers for name in node.input[1:]}
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
