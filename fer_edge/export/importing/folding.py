"""Passes that take away what computes nothing: constants, identities, doubled reshapes."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from fer_edge.export.importing.editing import Editable, attributes, evaluate

_RANDOM = (
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial",
    "Bernoulli",
)  # fmt: skip
_LARGEST = 4_000_000
"""Numbers in a constant that is made beforehand, where it is larger than what it is made of: such
is cheaper to compute."""


def fold_constants(graph: Editable) -> bool:
    """Compute beforehand what depends on no face."""
    changed = False
    kept = []
    for node in graph.sorted_nodes():
        foldable = (
            node.op_type not in _RANDOM
            and all(not name or name in graph.constants for name in node.input)
            and not graph.given.intersection(node.output)
        )
        if foldable:
            inputs = [graph.constants.get(name) for name in node.input]
            names = [name for name in node.output if name]
            values = evaluate(node, inputs)
            given = sum(value.size for value in inputs if value is not None)
            if all(v.size <= max(_LARGEST, given) for v in values):
                graph.constants.update(zip(names, values, strict=True))
                changed = True
                continue
        kept.append(node)
    graph.nodes = kept
    graph.touch()
    return changed


def drop_identities(graph: Editable) -> bool:
    """Take away nodes that give what they take."""
    for node in list(graph.nodes):
        if _passes(graph, node):
            graph.bypass(node)
            return True
    return False


def _passes(graph: Editable, node: onnx.NodeProto) -> bool:
    kind = node.op_type
    if node.input and node.input[0] in graph.constants:
        return False
    if kind == "Identity":
        # What the only output of a graph is given under must be made by a node.
        return node.output[0] not in graph.given or node.input[0] in graph.producer
    if kind == "Dropout":
        return not any(graph.takers.get(name) for name in node.output[1:])
    if kind == "Cast":
        to = attributes(node)["to"]
        return to == TensorProto.FLOAT and graph.element(node.input[0]) == to
    if kind in ("Add", "Sub", "Mul", "Div"):
        neutral = 0.0 if kind in ("Add", "Sub") else 1.0
        value = graph.value(node.input[1])
        same = graph.shape(node.input[0])
        return (
            value is not None
            and bool((value == neutral).all())
            and same is not None
            and same == graph.shape(node.output[0])
        )
    if kind in ("Pad", "Slice", "Expand", "Concat", "Resize", "Tile"):
        return _same_values(graph, node)
    if kind in ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"):
        return _same_form(graph, node)
    return False


def _same_values(graph: Editable, node: onnx.NodeProto) -> bool:
    if node.op_type == "Concat":
        return len(node.input) == 1
    if any(name and name not in graph.constants for name in node.input[1:]):
        return False
    before = graph.shape(node.input[0])
    if before is None or before != graph.shape(node.output[0]):
        return False
    if node.op_type == "Pad":
        return not np.any(graph.constants[node.input[1]])
    if node.op_type == "Slice":
        return len(node.input) < 5 or bool((graph.constants[node.input[4]] > 0).all())
    return node.op_type != "Resize" or "roi" not in attributes(node).get(
        "coordinate_transformation_mode", ""
    ) + ("roi" if attributes(node).get("coordinate_transformation_mode") == "tf_crop_and_resize"
         else "")  # fmt: skip


def _same_form(graph: Editable, node: onnx.NodeProto) -> bool:
    before, after = graph.shape(node.input[0]), graph.shape(node.output[0])
    if before is None or before != after:
        return False
    if node.op_type != "Transpose":
        return True
    perm = attributes(node).get("perm", range(len(before))[::-1])
    moved = [axis for axis in perm if before[axis] != 1]
    return moved == sorted(moved)


def single_reshapes(graph: Editable) -> bool:
    """Squeeze, Unsqueeze, Flatten and chains of Reshape are one Reshape; of two axes a Flatten."""
    for node in list(graph.nodes):
        if node.op_type == "Transpose" and _moves_ones(graph, node):
            shape = graph.shape(node.output[0])
            assert shape is not None
            _reshape(graph, node, shape)
            return True
        if node.op_type not in ("Reshape", "Squeeze", "Unsqueeze", "Flatten"):
            continue
        two, three = graph.shape(node.output[0], 2), graph.shape(node.output[0], 3)
        if two is None or three is None or (two[:1], three[:1]) != ((2,), (3,)):
            continue
        before = graph.producer.get(node.input[0])
        if before is not None and before.op_type in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            node.input[0] = before.input[0]
            _reshape(graph, node, two)
            return True
        flat = len(two) == 2
        if flat and node.op_type != "Flatten":
            given = graph.shape(node.input[0])
            if given is not None and given[0] == 2:
                new = helper.make_node("Flatten", [node.input[0]], node.output, node.name, axis=1)
                graph.replace([node], [new])
                return True
        if node.op_type in ("Squeeze", "Unsqueeze") and not flat:
            _reshape(graph, node, two)
            return True
    return False


def _moves_ones(graph: Editable, node: onnx.NodeProto) -> bool:
    """Whether a Transpose leaves all numbers where they are, as of one channel."""
    shape, after = graph.shape(node.input[0]), graph.shape(node.output[0])
    if shape is None or after is None or (shape[:1], after[:1]) != ((2,), (2,)):
        return False
    perm = attributes(node).get("perm", range(len(shape))[::-1])
    moved = [axis for axis in perm if shape[axis] != 1]
    return moved == sorted(moved)


def _reshape(graph: Editable, node: onnx.NodeProto, shape: tuple[int, ...]) -> None:
    wanted = graph.constant(np.array([-1, *shape[1:]], np.int64), "shape")
    new = helper.make_node("Reshape", [node.input[0], wanted], node.output, node.name)
    graph.replace([node], [new])
