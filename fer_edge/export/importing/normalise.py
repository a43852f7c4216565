"""The one pass at the entrance: after it, no other has to know how a graph was written.

What comes out is of one opset and has

- nodes in order, each with a name of its own, and constants that one node each takes;
- no Constant, Identity, Dropout or cast that changes nothing, no batch norm, no shape that is
  computed where it need not be;
- fully connected layers as ``Gemm(x, weight, bias)`` with ``transB=1``, outputs first, and those
  of sequences as ``MatMul(x, weight)`` and ``Add``;
- scales and shifts per channel inside the weights that they follow or precede;
- means over both sides as GlobalAveragePool, one Reshape or Flatten where several stood;
- one subtraction, at most, between the cast of the pixels and the first layer.
"""

from collections.abc import Callable

import onnx
from onnx import TensorProto, helper

from fer_edge.export.graph.view import finish
from fer_edge.export.importing import folding, layout, linear, pixels, products
from fer_edge.export.importing.editing import Editable, attributes
from fer_edge.export.importing.naming import rename

Pass = Callable[[Editable], bool]


def normalise(graph: Editable) -> onnx.ModelProto:
    """Give a graph, with its contract around it already, the form that all passes stand on.

    Parameters
    ----------
    graph : Editable
        Takes any number of faces; changed.

    Raises
    ------
    ExportError
        What came out is not valid.
    """
    _until_still(graph, _GENERAL)
    pixels.one_subtraction(graph)
    _until_still(graph, _PIXELS)
    linear.own_weights(graph)
    pixels.sized_weights(graph)
    graph.drop_unused()
    rename(graph)
    model = graph.model()
    return finish(model)


def has_form_of(model: onnx.ModelProto, normal: onnx.ModelProto) -> bool:
    """Whether a graph differs from its normal form in names alone."""
    names = {node.name for node in model.graph.node} - {""}
    return (
        len(names) == len(model.graph.node)
        and [o.version for o in model.opset_import] == [o.version for o in normal.opset_import]
        and len(model.graph.initializer) == len(normal.graph.initializer)
        and [_form(node) for node in model.graph.node] == [_form(n) for n in normal.graph.node]
    )


def _form(node: onnx.NodeProto) -> tuple[str, list[bytes]]:
    return node.op_type, sorted(a.SerializeToString(deterministic=True) for a in node.attribute)


def _until_still(graph: Editable, passes: tuple[Pass, ...]) -> None:
    """Run passes, each as often as it changes something, until none does."""
    changed = True
    while changed:
        changed = False
        for one in passes:
            while one(graph):
                changed = True
        graph.drop_unused()


def _probabilities_from_logarithms(graph: Editable) -> bool:
    """Exp(LogSoftmax(x)) is Softmax(x)."""
    for node in list(graph.nodes):
        before = graph.producer.get(node.input[0]) if node.op_type == "Exp" else None
        if before is None or before.op_type != "LogSoftmax":
            continue
        axis = attributes(before).get("axis", -1)
        new = helper.make_node("Softmax", [before.input[0]], node.output, node.name, axis=axis)
        graph.replace([node], [new])
        return True
    return False


def _clips(graph: Editable) -> bool:
    """Min and Max with one number are a Clip."""
    for node in list(graph.nodes):
        if node.op_type not in ("Min", "Max") or len(node.input) != 2:
            continue
        constant = [n for n in node.input if n in graph.constants]
        if len(constant) != 1 or graph.constants[constant[0]].size != 1:
            continue
        (source,) = (n for n in node.input if n not in graph.constants)
        if graph.element(source) != TensorProto.FLOAT:
            continue
        if graph.shape(source) != graph.shape(node.output[0]):
            continue
        limit = graph.constant(graph.constants[constant[0]].reshape(()), "limit")
        inputs = [source, limit] if node.op_type == "Max" else [source, "", limit]
        graph.replace([node], [helper.make_node("Clip", inputs, node.output, node.name)])
        return True
    return False


_GENERAL: tuple[Pass, ...] = (
    folding.fold_constants,
    folding.drop_identities,
    linear.own_weights,
    linear.plain_norms,
    linear.constants_second,
    linear.plain_products,
    layout.meet_transposes,
    layout.means_are_pools,
    layout.pools_within_pads,
    folding.single_reshapes,
    layout.turned_rows,
    linear.merge_constants,
    linear.absorb_after,
    products.absorb_after,
    layout.padded_convolutions,
    _clips,
    _probabilities_from_logarithms,
)
_PIXELS: tuple[Pass, ...] = (
    pixels.scales_last,
    linear.absorb_before,
    layout.joined_channels,
    folding.drop_identities,
)
