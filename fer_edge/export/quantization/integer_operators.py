"""What ONNX Runtime computes on integers between the layers, and what it cannot.

References
----------
https://github.com/microsoft/onnxruntime, onnxruntime/core/optimizer/qdq_transformer: the operators
that its rules take from between DequantizeLinear and QuantizeLinear.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx

from fer_edge.export.graph.bounds import attribute, clamp
from fer_edge.export.graph.view import WEIGHTED, GraphView

PASSING = ("MaxPool", "Resize")
"""They choose values of one tensor, so that the integers that come out are those that go in."""
MOVING = (*PASSING, "Concat")
"""They choose or collect values."""
GATES = ("HardSigmoid", "HardSwish")
"""Straight lines between bounds: on integers another scale and zero point, and a Clip."""
_COMPUTED = (
    "Add", "Mul", "Sigmoid", "LeakyRelu", "GlobalAveragePool", "AveragePool",
)  # fmt: skip
_SHAPING = ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose")
WORTH = 64
"""Multiply-adds for each value that a layer gives from which integers pay where an operator in
float32 follows. Measured on 64 channels of 24x24 (AMD EPYC 7003, one thread): quantising and
dequantising cost 0.6 ns for a value, and a multiply-add saves 0.01 ns."""
_AVERAGING = ("GlobalAveragePool", "AveragePool")


@dataclass(frozen=True)
class IntegerFlow:
    """Which operators and tensors are integers in the form for CPUs."""

    operators: frozenset[str]
    """Names of the nodes besides layers that take and give integers."""
    tensors: tuple[str, ...]
    """Tensors with a scale of their own, in graph order."""
    floating: dict[str, str]
    """Nodes that take what integers give and compute in float32, and why."""


def integer_flow(
    view: GraphView,
    layers: Collection[str],
    quantised: Collection[str],
    without: Mapping[str, str] = MappingProxyType({}),
) -> IntegerFlow:
    """Follow integers from layer to layer.

    Parameters
    ----------
    view : GraphView
        Of the float32 graph.
    layers : collection of str
        Weighted nodes that run in INT8.
    quantised : collection of str
        Tensors that carry a Q/DQ pair in the graph of record.
    without : mapping of str to str
        Tensors that are quantised nowhere, and why.
    """
    given, operators, floating = set(quantised), set(), {}
    for node in view.nodes:
        # What MaxPool, Clip and others have besides the tensor is constant where they are integer.
        inputs = [name for name in node.input if name and name not in view.constants]
        output = node.output[0]
        if node.op_type in WEIGHTED:
            # A product of sequences gives what its integers sum to, in float32 for the bias.
            if node.name in layers and node.op_type != "MatMul" and output not in without:
                given.add(output)
        elif not given.intersection(inputs) or node.op_type in (*_SHAPING, "Shape", "Softmax"):
            continue
        elif output in without:
            floating[node.name] = f"what it gives is {without[output]}"
        elif not runs_on_integers(view, node):
            floating[node.name] = (
                f"ONNX Runtime has no {_described(view, node)} on integers, so it computes in "
                "float32 between them"
            )
        elif given.issuperset(inputs):
            operators.add(node.name)
            given.add(output)
        else:
            floats = next(name for name in inputs if name not in given)
            floating[node.name] = f"it takes {floats}, which is in float32"
    tensors = [
        node.output[0]
        for node in view.nodes
        if node.output[0] in quantised
        or (
            ((node.name in layers and node.op_type != "MatMul") or node.name in operators)
            and node.output[0] not in without
            and has_own_scale(view, node, operators)
        )
    ]
    return IntegerFlow(frozenset(operators), tuple(tensors), floating)


def has_own_scale(view: GraphView, node: onnx.NodeProto, operators: Collection[str]) -> bool:
    """Whether what an integer node gives is quantised as it is.

    Not so where its only taker is an operator that leaves the integers as they are, a fully
    connected layer whose taker is in float32 and reads what the integers sum to, or a gate.
    """
    follower = view.only_consumer(node.output[0])
    following = follower is not None and follower.name in operators
    if node.op_type == "Gemm":
        return following and follower is not None and not _clamped(follower)
    if node.op_type == "HardSigmoid":
        return False
    if _clamped(node) and view.only_consumer(node.input[0]) is None:
        # Others read what it clamps, which has a scale already.
        return False
    return not (
        following and follower is not None and (_clamped(follower) or follower.op_type in MOVING)
    )


def means_for_floats(view: GraphView, layers: Collection[str]) -> dict[str, str]:
    """What pools average for layers in floating point alone, and why it is not quantised.

    Means of integers are far finer than their steps, so that to round them again costs more than
    all that they are the means of; and where no integers are wanted, it saves nothing.
    """
    reason = "taken in floating point alone, and finer than integers"
    return {
        node.output[0]: reason
        for node in view.nodes
        if node.op_type in _AVERAGING and not _wanted_as_integers(view, node.output[0], layers)
    }


def _wanted_as_integers(view: GraphView, tensor: str, layers: Collection[str]) -> bool:
    for taker in view.consumers.get(tensor, []):
        if taker.op_type in _SHAPING:
            if _wanted_as_integers(view, taker.output[0], layers):
                return True
        elif taker.op_type != "Softmax" and (taker.op_type not in WEIGHTED or taker.name in layers):
            return True
    return False


def _clamped(node: onnx.NodeProto) -> bool:
    return node.op_type in ("Relu", "Clip")


def runs_on_integers(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether ONNX Runtime can compute a node on integers, by whatever operators."""
    constant = any(name in view.constants for name in node.input)
    if node.op_type == "Resize":
        return attribute(node, "mode", b"nearest") == b"nearest"
    if node.op_type in GATES:
        alpha, beta = gate_line(node)
        return alpha > 0 and beta > 0
    if node.op_type == "PRelu":
        return uniform_slope(view, node) is not None
    if node.op_type in ("Relu", "Clip"):
        return clamp(view, node) is not None
    return node.op_type in (*_COMPUTED, *MOVING) and not constant and len(node.output) == 1


def gate_line(node: onnx.NodeProto) -> tuple[float, float]:
    """Slope and value at zero of HardSigmoid, or of the one in HardSwish."""
    if node.op_type == "HardSwish":
        return (1 / 6, 0.5)
    return (attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5))


def uniform_slope(view: GraphView, node: onnx.NodeProto) -> float | None:
    """The slope of a PRelu that is a LeakyRelu: constant and the same for all channels."""
    if node.input[1] not in view.constants:
        return None
    slopes = np.unique(view.array(node.input[1]))
    return float(slopes[0]) if len(slopes) == 1 else None


def slower_on_integers(
    model: onnx.ModelProto,
    layers: Collection[str],
    quantised: Collection[str],
    without: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Layers that CPUs run faster, or only, in float32, and why."""
    view = GraphView(model)
    found: dict[str, str] = {}
    floating = integer_flow(view, layers, quantised, without).floating
    for node in view.nodes:
        if node.name in layers and node.output[0] in without:
            found[node.name] = f"what it gives is {without[node.output[0]]}"
            continue
        if node.name in layers and node.op_type == "ConvTranspose":
            found[node.name] = "ONNX Runtime has no transposed convolution on integers"
        if node.name not in layers or node.op_type != "Conv":
            continue
        takers = view.consumers.get(node.output[0], [])
        slow = next((taker for taker in takers if taker.name in floating), None)
        work = int(np.prod(view.array(node.input[1]).shape[1:]))
        if slow is not None and work < WORTH:
            found[node.name] = (
                f"{work} multiply-adds for a value save less than {slow.op_type} in float32 costs "
                "between integers"
            )
    return found


def _described(view: GraphView, node: onnx.NodeProto) -> str:
    if node.op_type == "PRelu":
        return "PRelu with a slope for each channel"
    if node.op_type == "Clip":
        return "Clip with bounds that are computed"
    if any(name in view.constants for name in node.input):
        return f"{node.op_type} with a constant"
    return str(node.op_type)
