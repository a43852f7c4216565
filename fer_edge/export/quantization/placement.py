"""Which tensors are quantised: the rules that TensorRT fuses by.

Of transformers these are the inputs of every fully connected layer. Attention's own products stay
in floating point: TensorRT fuses them and the softmax between into one kernel, in FP16.

References
----------
NVIDIA TensorRT documentation, "Working with Quantized Types", sections "Q/DQ Placement
Recommendations", "Q/DQ Limitations" and "Types of Fusions" (multi-head attention, GELU).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import onnx

from fer_edge.errors import ExportError
from fer_edge.export.graph.view import WEIGHTED, GraphView
from fer_edge.export.quantization.integer_operators import integer_flow

_ON_MAPS = (
    "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "HardSwish", "Mul", "Add", "MaxPool", "Concat",
)  # fmt: skip

_DECODING = (
    "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Concat", "Split", "Slice", "Add",
    "Sub", "Mul", "Div", "Exp", "Sigmoid",
)  # fmt: skip
"""Operators between the heads of a detector and its outputs."""


@dataclass(frozen=True)
class Placement:
    """Where Q/DQ pairs go."""

    layers: tuple[str, ...]
    """Names of the weighted nodes that run in INT8, in graph order."""
    activations: tuple[str, ...]
    """Tensors that carry a Q/DQ pair in the graph of record."""
    identities: tuple[tuple[str, int], ...]
    """(node, input index) of each residual add's identity branch."""
    cpu_activations: tuple[str, ...]
    """Tensors that only the form for CPUs quantises.

    ONNX Runtime runs an operator on integers only if what it gives is quantised, too.
    """


def place(
    model: onnx.ModelProto,
    kept: Collection[str] = (),
    floating: Mapping[str, str] = MappingProxyType({}),
) -> Placement:
    """Decide what to quantise in a float32 graph.

    Parameters
    ----------
    model : onnx.ModelProto
    kept : collection of str
        Names of layers that stay in floating point, whatever the rules say.
    floating : mapping of str to str
        Tensors that are quantised nowhere, and why.
    """
    view = GraphView(model)
    kept = {*kept, *reading(view, floating)}
    layers = tuple(name for name in quantised_layers(view) if name not in kept)
    identities = tuple(
        (node.name, identity_branch(view, node))
        for node in view.nodes
        if residual(view, node)
        and main_branch(view, node) not in kept
        and node.input[identity_branch(view, node)] not in floating
    )
    by_name = {node.name: node for node in view.nodes}
    wanted = {by_name[name].input[0] for name in layers}
    wanted |= {by_name[name].input[index] for name, index in identities}
    ordered = [name for node in view.nodes for name in node.output]
    activations = tuple(name for name in ordered if name in wanted)
    flow = integer_flow(view, layers, wanted, floating)
    cpu_activations = tuple(name for name in flow.tensors if name not in wanted)
    return Placement(layers, activations, identities, cpu_activations)


def check_any(
    view: GraphView, placement: Placement, name: str, kept: Mapping[str, str] | None = None
) -> None:
    """Raise ExportError where a placement has no layer; ``kept`` are reasons besides the rules'."""
    if placement.layers:
        return
    reasons = {**(kept or {}), **unquantised(view)}
    why = "".join(
        f" {layer} stays in floating point: {reason}." for layer, reason in [*reasons.items()][:1]
    )
    raise ExportError(
        f"INT8 can run no layer of {name}.{why}", hint="Export it with --fp16, or as it is."
    )


def reading(view: GraphView, tensors: Collection[str]) -> dict[str, str]:
    """Layers that the rules quantise and that take one of ``tensors``, and which."""
    wanted = set(quantised_layers(view)) if tensors else ()
    return {
        node.name: node.input[0]
        for node in view.layers
        if node.input[0] in tensors and node.name in wanted
    }


def quantised_layers(view: GraphView) -> tuple[str, ...]:
    """Every convolution and fully connected layer but those of :func:`unquantised`."""
    without = unquantised(view)
    return tuple(node.name for node in view.layers if node.name not in without)


def unquantised(view: GraphView) -> dict[str, str]:
    """Nodes that multiply matrices and stay in floating point by the rules, and why."""
    found = {}
    for node in view.nodes:
        if node.op_type not in WEIGHTED:
            continue
        taker = view.only_consumer(node.output[0])
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        if not view.is_layer(node):
            found[node.name] = (
                "attention's own product: TensorRT fuses it with the softmax, in FP16"
                if node.op_type == "MatMul"
                else "its weights are computed, so they have no scale beforehand"
            )
        elif taker is not None and taker.op_type == "Softmax" and node.op_type != "MatMul":
            found[node.name] = (
                "the classifier: a thousandth of the work, and its error goes into the logits"
            )
        elif _gives_answers(view, node):
            found[node.name] = (
                "a head: a hundredth of the work, and its error goes into what the graph answers"
            )
        elif node.op_type == "ConvTranspose" and groups > 1:
            found[node.name] = f"its {groups} groups share scales of output channels"
    return found


def _gives_answers(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a convolution's map is what the graph answers, decoded or not: boxes, say."""
    if node.op_type != "Conv":
        return False
    seen, tensors = set(), list(node.output)
    while tensors:
        for taker in view.consumers.get(tensors.pop(), []):
            if taker.op_type not in _DECODING:
                return False
            if taker.name not in seen:
                seen.add(taker.name)
                tensors += taker.output
    return True


def kept_by_rule(view: GraphView) -> dict[str, str]:
    """As :func:`unquantised`, but for the classifier, which every network has."""
    found = unquantised(view)
    last = {node.name for node in view.layers if node.op_type in ("Conv", "Gemm")}
    return {name: reason for name, reason in found.items() if name not in last}


def residual(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a node adds two branches of maps, which TensorRT fuses into a convolution.

    Sums of sequences, as transformers have them, and of constants are none.
    """
    if node.op_type != "Add" or any(name in view.constants for name in node.input):
        return False
    return any(_from_convolution(view, name) for name in node.input)


def _from_convolution(view: GraphView, tensor: str) -> bool:
    """Whether ``tensor`` is the map of a convolution, activated, scaled or added to or not."""
    while (node := view.producer.get(tensor)) is not None:
        if node.op_type == "Conv":
            return True
        if node.op_type not in _ON_MAPS:
            return False
        tensor = node.input[0]
    return False


def identity_branch(view: GraphView, add: onnx.NodeProto) -> int:
    """Input of a residual add that is quantised: the one that is not the main branch.

    TensorRT fuses the add into the main branch's last convolution and reads the other input in
    INT8. A skip that is a convolution reads the block's input, which others read too.
    """

    def is_main(tensor: str) -> bool:
        node = view.producer.get(tensor)
        return (
            node is not None
            and node.op_type == "Conv"
            and view.only_consumer(tensor) is not None
            and view.only_consumer(node.input[0]) is not None
        )

    return 0 if is_main(add.input[1]) and not is_main(add.input[0]) else 1


def main_branch(view: GraphView, add: onnx.NodeProto) -> str | None:
    """Convolution that TensorRT fuses a residual add into; None if there is none."""
    node = view.producer.get(add.input[1 - identity_branch(view, add)])
    return str(node.name) if node is not None and node.op_type == "Conv" else None
