"""Bounds of tensors that follow from operators, whatever the faces are."""

import math
from typing import Any

import onnx
from onnx import helper

from fer_edge.export.graph.activations import ACTIVATIONS, UNBOUNDED, Interval
from fer_edge.export.graph.view import GraphView

_SWISH_LOW = -0.27846455
"""Smallest x * sigmoid(x)."""
_UNCHANGED = ("MaxPool", "GlobalAveragePool", "Flatten", "Reshape", "Transpose", "Identity")


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Value of an attribute."""
    found = (helper.get_attribute_value(a) for a in node.attribute if a.name == name)
    return next(found, default)


def clamp(view: GraphView, node: onnx.NodeProto) -> Interval | None:
    """Bounds of a Relu or Clip; None of other operators and where they are not constant.

    Clip has them as inputs since opset 11, as attributes before.
    """
    if node.op_type == "Relu":
        return (0.0, math.inf)
    if node.op_type != "Clip":
        return None
    found = []
    for position, name in ((1, "min"), (2, "max")):
        bound = node.input[position] if len(node.input) > position else ""
        if bound and bound not in view.constants:
            return None
        value = view.array(bound).item() if bound else attribute(node, name)
        found.append(UNBOUNDED[position - 1] if value is None else float(value))
    # The operator takes the maximum first: where the bounds cross, the upper one wins.
    return (min(found), found[1])


def bounds(view: GraphView, tensor: str) -> Interval:
    """Interval that ``tensor`` cannot leave, as far as the operators before it tell."""
    node = view.producer.get(tensor)
    if node is None:
        return UNBOUNDED
    kind = node.op_type
    if (limits := clamp(view, node)) is not None:
        low, high = bounds(view, node.input[0])
        return (_within(low, limits), _within(high, limits))
    if kind in _UNCHANGED:
        return bounds(view, node.input[0])
    if kind in ACTIVATIONS:
        return ACTIVATIONS[kind]
    if kind == "Softmax":
        return (0.0, 1.0)
    if kind == "Concat":
        parts = [bounds(view, name) for name in node.input]
        return (min(low for low, _ in parts), max(high for _, high in parts))
    if kind == "Mul":
        return _product(view, node)
    return UNBOUNDED


def _within(value: float, limits: Interval) -> float:
    return min(max(value, limits[0]), limits[1])


def _product(view: GraphView, node: onnx.NodeProto) -> Interval:
    for one, other in (node.input, reversed(node.input)):
        gate = view.producer.get(other)
        if gate is not None and one in gate.input:
            if gate.op_type == "Sigmoid":
                return (_SWISH_LOW, math.inf)
            if gate.op_type == "HardSigmoid":
                alpha, beta = attribute(gate, "alpha", 0.2), attribute(gate, "beta", 0.5)
                # The parabola x * (alpha * x + beta) has its lowest point halfway to zero.
                return (-(beta**2) / (4 * alpha), math.inf) if alpha > 0 else UNBOUNDED
    lowest = min(bounds(view, name)[0] for name in node.input)
    return (0.0, math.inf) if lowest >= 0 else UNBOUNDED
