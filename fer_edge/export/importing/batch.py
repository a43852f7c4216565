"""One number of faces becomes any: shapes that depend on the batch alone become constants."""

import numpy as np
import onnx
from onnx import helper

from fer_edge.errors import ExportError, first_line
from fer_edge.export.importing.editing import Array, Editable, Shape, open_session
from fer_edge.export.importing.folding import fold_constants

_BATCHES = (2, 3)
"""Both are run: what differs between them follows the batch, what does not is constant."""


def any_batch(graph: Editable, image: str, shape: tuple[int, int, int], where: str) -> bool:
    """Let the graph take any number of faces, and fix every shape in it that can be.

    Parameters
    ----------
    graph : Editable
    image : str
        Its input.
    shape : tuple of int
        Of one image, as the graph has it.
    where : str
        File, for messages.

    Returns
    -------
    bool
        Whether the graph as it came took only one number of faces.

    Raises
    ------
    ExportError
        The graph cannot run on several faces.
    """
    value = next(v for v in graph.inputs if v.name == image)
    dims = value.type.tensor_type.shape.dim
    fixed = dims[0].dim_value if dims[0].HasField("dim_value") else 0
    kind = value.type.tensor_type.elem_type
    if fixed:
        fold_constants(graph)  # a class token may be expanded to the number of faces
        _release(graph, fixed)
    value.CopyFrom(helper.make_tensor_value_info(image, kind, ["batch", *shape]))
    for output in graph.outputs:
        output.CopyFrom(
            helper.make_tensor_value_info(output.name, output.type.tensor_type.elem_type, None)
        )
    graph.forget_shapes()
    names = _shape_tensors(graph)
    shaped = [n.output[0] for n in graph.nodes if n.op_type in ("Reshape", "Resize")]
    found = []
    for batch in _BATCHES:
        faces = np.zeros((batch, *shape), helper.tensor_dtype_to_np_dtype(kind))
        try:
            found.append(_values(graph, [*names, *shaped], image, faces))
        except Exception as error:  # ONNX Runtime's have no common base
            raise ExportError(
                f"{where} does not run on {batch} faces at once: {first_line(error)[:200]}.",
                hint="Export it with a dynamic batch: dynamic_axes={'input': {0: 'n'}} or "
                "dynamic_shapes in torch, and no fixed batch size in Keras.",
            ) from error
    _fix(graph, names, *(values[: len(names)] for values in found))
    shapes = [[value.shape for value in values[len(names) :]] for values in found]
    _fix_reshapes(graph, dict(zip(shaped, zip(*shapes, strict=True), strict=True)))
    graph.drop_unused()
    return bool(fixed)


def _shape_tensors(graph: Editable) -> list[str]:
    """Tensors that follow from shapes alone, whatever the pixels are."""
    known: set[str] = set()
    for node in graph.sorted_nodes():
        inputs = [name for name in node.input if name and name not in graph.constants]
        if node.op_type in ("Shape", "Size") or (inputs and known.issuperset(inputs)):
            known.update(name for name in node.output if name)
    return [name for node in graph.nodes for name in node.output if name in known]


def _values(graph: Editable, names: list[str], image: str, faces: Array) -> list[Array]:
    model = graph.model()
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in graph.given
    )
    model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info(
            image, helper.np_dtype_to_tensor_dtype(faces.dtype), [None, *faces.shape[1:]]
        )
    )
    wanted = [*names, *graph.given]
    found: list[Array] = open_session(model).run(wanted, {image: faces})
    return found[: len(names)]


def _fix(graph: Editable, names: list[str], two: list[Array], three: list[Array]) -> None:
    """What is the same for both numbers of faces is constant."""
    for name, low, high in zip(names, two, three, strict=True):
        if name not in graph.given and low.shape == high.shape and np.array_equal(low, high):
            graph.constants[name] = low
    made = {name for name in names if name in graph.constants}
    graph.nodes = [n for n in graph.nodes if not (n.output and made.issuperset(n.output))]
    graph.touch()


def _fix_reshapes(graph: Editable, shapes: dict[str, tuple[Shape, Shape]]) -> None:
    """Reshape and Resize to a shape in which one number at most follows that of the faces."""
    for node in graph.nodes:
        if node.output[0] not in shapes:
            continue
        low, high = shapes[node.output[0]]
        target = [a if a == b else -1 for a, b in zip(low, high, strict=True)]
        if node.op_type == "Reshape":
            if target.count(-1) == 1 and node.input[1] not in graph.constants:
                node.input[1] = graph.constant(np.array(target, np.int64), "shape")
        elif len(node.input) == 4 and target[1:].count(-1) == 0 and target[0] == -1:
            source = graph.shape(node.input[0], _BATCHES[0])
            if source is not None and source[0] == low[0]:
                factors = np.array(low, np.float64) / np.array(source)
                node.input[2] = graph.constant(factors.astype(np.float32), "scales")
                del node.input[3]
    graph.touch()


def _release(graph: Editable, fixed: int) -> None:
    """Take the number of faces out of constant shapes."""
    shapes = {
        name: graph.shape(name, fixed) for node in graph.nodes for name in node.output if name
    }
    nodes = []
    for node in list(graph.nodes):
        shape = shapes.get(node.output[0])
        if (
            node.op_type == "Reshape"
            and (wanted := graph.value(node.input[1])) is not None
            and node.input[0] not in graph.constants
            and shape
            and wanted[0] > 0
        ):
            # Faces come first in memory, so all that is before the rest follows from their number.
            loose = np.array([-1, *shape[1:]], np.int64)
            node.input[1] = graph.constant(loose, "shape")
        elif node.op_type == "Concat" and any(name in graph.constants for name in node.input):
            nodes += _expanded(graph, node, fixed)
        nodes.append(node)
    graph.nodes = nodes
    graph.touch()


def _expanded(graph: Editable, node: onnx.NodeProto, fixed: int) -> list[onnx.NodeProto]:
    """Repeat constants that are joined to faces (a class token) for each face."""
    axis = next(a.i for a in node.attribute if a.name == "axis")
    computed = next((n for n in node.input if n not in graph.constants), None)
    if axis == 0 or computed is None:
        return []
    made = []
    for index, name in enumerate(node.input):
        value = graph.constants.get(name)
        if value is None or value.ndim < 2 or value.shape[0] != fixed or axis == -value.ndim:
            continue
        size, first, target, out = (graph.unique(f"{name}/{w}") for w in ("s", "f", "t", "e"))
        rest = graph.constant(np.array(value.shape[1:], np.int64), "rest")
        zero = graph.constant(np.array([0], np.int64), "zero")
        one = graph.constant(value[:1], name)
        made += [
            helper.make_node("Shape", [computed], [size], size),
            helper.make_node("Gather", [size, zero], [first], first),
            helper.make_node("Concat", [first, rest], [target], target, axis=0),
            helper.make_node("Expand", [one, target], [out], out),
        ]
        node.input[index] = out
    return made
