"""A graph as the passes of an import edit it: nodes in order, constants as arrays, an index."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fer_edge.errors import ExportError
from fer_edge.export.graph.view import IR_VERSION, OPSET

Array = NDArray[Any]
Shape = tuple[int, ...]


class Editable:
    """Nodes and constants of a graph of the main domain.

    It is at :data:`~fer_edge.export.graph.view.OPSET`.

    :attr:`nodes` may be changed freely; :meth:`touch` makes the index and the shapes follow.

    Parameters
    ----------
    model : onnx.ModelProto
        Its names are unique, and no node of it holds a graph of its own.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.nodes: list[onnx.NodeProto] = [_copy(node) for node in graph.node]
        self.constants: dict[str, Array] = {
            t.name: numpy_helper.to_array(t) for t in graph.initializer
        }
        self.inputs = [_copy(v) for v in graph.input if v.name not in self.constants]
        self.outputs = [_copy(v) for v in graph.output]
        self._counter = 0
        self._shapes: dict[int, dict[str, Shape]] = {}
        self._types: dict[str, int] = {}
        self.touch()

    def touch(self) -> None:
        """Index the nodes anew. What a name stands for has kept its shape."""
        self.producer: dict[str, onnx.NodeProto] = {}
        self.takers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.output:
                self.producer[name] = node
            for name in node.input:
                if name:
                    self.takers[name].append(node)
        self.given = {value.name for value in self.outputs}
        self._unknown: set[int] = set()

    def forget_shapes(self) -> None:
        """After a change of the shape that a name stands for."""
        self._shapes.clear()
        self.touch()

    def model(self, batch: int | None = None) -> onnx.ModelProto:
        """The graph; with the first dimension of its inputs a number where one is given."""
        inputs = [_copy(value) for value in self.inputs]
        if batch is not None:
            for value in inputs:
                value.type.tensor_type.shape.dim[0].dim_value = batch
        graph = helper.make_graph(
            self.nodes,
            "fer_edge",
            inputs,
            self.outputs,
            [numpy_helper.from_array(np.asarray(v), k) for k, v in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(
            graph, producer_name="fer-edge", ir_version=IR_VERSION, opset_imports=opsets
        )

    def shape(self, tensor: str, batch: int = 2) -> Shape | None:
        """Shape of a tensor with so many faces; None where it cannot be told beforehand."""
        if tensor in self.constants:
            return tuple(self.constants[tensor].shape)
        known = self._shapes.setdefault(batch, {})
        if tensor not in known and batch not in self._unknown:
            self._infer(batch)
        return known.get(tensor)

    def rank(self, tensor: str) -> int | None:
        shape = self.shape(tensor)
        return None if shape is None else len(shape)

    def element(self, tensor: str) -> int:
        """Type of a tensor as ONNX numbers types; 0 where it is not known."""
        if tensor in self.constants:
            return int(helper.np_dtype_to_tensor_dtype(self.constants[tensor].dtype))
        if tensor not in self._types and 2 not in self._unknown:
            self._infer(2)
        return self._types.get(tensor, 0)

    def _infer(self, batch: int) -> None:
        model = self.model(batch)
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
        self._unknown.add(batch)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        shapes = self._shapes.setdefault(batch, {})
        for value in (*inferred.value_info, *inferred.input, *inferred.output):
            kind = value.type.tensor_type
            self._types[value.name] = kind.elem_type
            if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
                shapes[value.name] = tuple(d.dim_value for d in kind.shape.dim)

    def constant(self, value: Array, hint: str) -> str:
        """A new constant; returns its name."""
        name = self.unique(hint)
        self.constants[name] = np.asarray(value)
        return name

    def unique(self, hint: str) -> str:
        """A name that no tensor has."""
        self._counter += 1
        return f"{hint}#{self._counter}"

    def value(self, tensor: str) -> Array | None:
        """Value of a constant; None of what is computed."""
        return self.constants.get(tensor)

    def only_taker(self, tensor: str) -> onnx.NodeProto | None:
        """The node that takes ``tensor``, if it is one and takes it once, and it is no output."""
        takers = self.takers.get(tensor, [])
        return takers[0] if len(takers) == 1 and tensor not in self.given else None

    def replace(self, old: Sequence[onnx.NodeProto], new: Iterable[onnx.NodeProto]) -> None:
        """Put ``new`` where the last of ``old`` stands."""
        gone = {id(node) for node in old}
        place = max(i for i, node in enumerate(self.nodes) if id(node) in gone)
        kept = [node for node in self.nodes[: place + 1] if id(node) not in gone]
        self.nodes = [*kept, *new, *self.nodes[place + 1 :]]
        self.touch()

    def bypass(self, node: onnx.NodeProto) -> None:
        """Take a node away whose first output is its first input."""
        source, target = node.input[0], node.output[0]
        self.nodes = [one for one in self.nodes if one is not node]
        if target in self.given:
            self._rename_output(source, target)
        else:
            for taker in self.nodes:
                for index, name in enumerate(taker.input):
                    if name == target:
                        taker.input[index] = source
        self.touch()

    def _rename_output(self, source: str, target: str) -> None:
        """Let what makes ``source`` make the output ``target``."""
        maker = self.producer.get(source)
        if maker is None or source in self.given:
            self.nodes.append(helper.make_node("Identity", [source], [target], target))
            return
        for node in self.nodes:
            for field in (node.input, node.output):
                for index, name in enumerate(field):
                    if name == source:
                        field[index] = target

    def drop_unused(self) -> None:
        """Remove nodes and constants that lead to no output, and order the nodes."""
        used, kept = set(self.given), []
        for node in reversed(self.sorted_nodes()):
            if used.intersection(node.output):
                used.update(node.input)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {k: v for k, v in self.constants.items() if k in used}
        self.touch()

    def sorted_nodes(self) -> list[onnx.NodeProto]:
        """The nodes such that each comes after those that it reads, else as they are.

        Raises
        ------
        ExportError
            A tensor that nothing makes, or a circle.
        """
        ready = {*self.constants, *(v.name for v in self.inputs), ""}
        waiting, ordered = list(self.nodes), []
        while waiting:
            left = []
            for node in waiting:
                if ready.issuperset(node.input):
                    ordered.append(node)
                    ready.update(node.output)
                else:
                    left.append(node)
            if len(left) == len(waiting):
                missing = next(name for name in left[0].input if name not in ready)
                raise ExportError(
                    f"The graph reads {missing!r}, which nothing in it gives.",
                    hint="Export the network again: the file is damaged.",
                )
            waiting = left
        return ordered


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes by name; text as str."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}


def evaluate(node: onnx.NodeProto, inputs: Sequence[Array | None]) -> list[Array]:
    """What a node gives for these inputs, by ONNX Runtime."""
    one = onnx.NodeProto()
    one.CopyFrom(node)
    feeds = {f"input{i}": np.asarray(v) for i, v in enumerate(inputs) if v is not None}
    del one.input[:], one.output[:]
    one.input.extend(f"input{i}" if v is not None else "" for i, v in enumerate(inputs))
    one.output.extend(f"output{i}" if name else "" for i, name in enumerate(node.output))
    graph = helper.make_graph(
        [one],
        "node",
        [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for k, v in feeds.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in one.output if name],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=opsets)
    found: list[Array] = open_session(model).run(None, feeds)
    return found


def open_session(model: onnx.ModelProto | bytes | str, *, plain: bool = True) -> Any:
    """An ONNX Runtime session on the CPU; ``plain`` computes each node as it stands."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if plain:
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def _copy(message: Any) -> Any:
    out = type(message)()
    out.CopyFrom(message)
    return out
