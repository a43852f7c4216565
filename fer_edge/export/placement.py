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
from fer_edge.export.integer_operators import integer_flow


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
    flow = integer_flow(view, layers, wanted)
    cpu_activations = tuple(name for name in flow.tensors if name not in wanted)
    return Placement(layers, activations, identities, cpu_activations)


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
