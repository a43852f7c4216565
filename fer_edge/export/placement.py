"""Which tensors are quantised: the rules that TensorRT fuses by.

References
----------
NVIDIA TensorRT documentation, "Working with Quantized Types", sections "Q/DQ Placement
Recommendations" and "Q/DQ Limitations".
"""

from collections.abc import Collection
from dataclasses import dataclass

import onnx

from fer_edge.export.graph import WEIGHTED, GraphView


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
    """Tensors that only the form for CPUs quantises."""


def place(model: onnx.ModelProto, kept: Collection[str] = ()) -> Placement:
    """Decide what to quantise in a float32 graph.

    Parameters
    ----------
    model : onnx.ModelProto
    kept : collection of str
        Names of layers that stay in floating point, whatever the rules say.
    """
    view = GraphView(model)
    layers = tuple(name for name in quantised_layers(view) if name not in kept)
    identities = tuple(
        (node.name, identity_branch(view, node))
        for node in view.nodes
        if node.op_type == "Add" and main_branch(view, node) not in kept
    )
    by_name = {node.name: node for node in view.nodes}
    wanted = {by_name[name].input[0] for name in layers}
    wanted |= {by_name[name].input[index] for name, index in identities}
    ordered = [name for node in view.nodes for name in node.output]
    activations = tuple(name for name in ordered if name in wanted)
    return Placement(layers, activations, identities, cpu_only(view, wanted, kept))


def quantised_layers(view: GraphView) -> tuple[str, ...]:
    """Every convolution and fully connected layer but the classifier.

    The classifier is a thousandth of the work, and its error goes straight into the logits.
    """
    weighted = [node for node in view.nodes if node.op_type in WEIGHTED]
    return tuple(
        node.name
        for node in weighted
        if not (taker := view.only_consumer(node.output[0])) or taker.op_type != "Softmax"
    )


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


def cpu_only(
    view: GraphView, quantised: Collection[str], kept: Collection[str] = ()
) -> tuple[str, ...]:
    """Tensors between INT8 operators of ONNX Runtime that TensorRT wants left alone.

    ONNX Runtime runs an operator in INT8 only if its output is quantised, so the main branch of a
    residual add, both sides of the average pool and what the last fully connected layer before the
    classifier gives need scales of their own. Where the layer in front is kept in floating point,
    so are they.
    """
    found: list[str] = []
    for node in view.nodes:
        follower = view.only_consumer(node.output[0])
        if node.op_type == "Add":
            layer, tensors = main_branch(view, node), [*node.input]
        elif node.op_type == "GlobalAveragePool":
            layer, tensors = layer_before(view, node.input[0]), [*node.input, *node.output]
        elif node.op_type == "Gemm" and follower is not None and follower.op_type == "Relu":
            layer, tensors = node.name, [*follower.output]
        else:
            continue
        if layer not in kept:
            found += [name for name in tensors if name not in quantised]
    return tuple(dict.fromkeys(found))


def layer_before(view: GraphView, tensor: str) -> str | None:
    """Layer that a tensor comes from, through activations and along main branches."""
    while (node := view.producer.get(tensor)) is not None and node.op_type not in WEIGHTED:
        index = 1 - identity_branch(view, node) if node.op_type == "Add" else 0
        tensor = node.input[index]
    return None if node is None else str(node.name)
