"""Reading, cleaning and checking ONNX graphs: what every rewrite of this package stands on."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fer_edge.contract import (
    INPUT_NAME,
    LABELS_KEY,
    OUTPUT_NAME,
    SIZES,
    Contract,
    contract_of_shapes,
    split_labels,
)
from fer_edge.errors import ExportError, first_line
from fer_edge.external_data import read_graph

IR_VERSION = 9
"""The one of opset 19; older runtimes refuse newer ones."""

OPSET = 19
"""Of the graphs that are written."""
_OLDEST = 13
"""First opset in which the scale of a Q/DQ node may be one per channel."""

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators of layers: those whose second input is a constant, the weights."""


class GraphView:
    """Index of a graph: who makes and who takes each tensor, and the constants.

    The view does not follow later changes of the graph.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.nodes = list(graph.node)
        self.constants = {t.name: t for t in graph.initializer}
        self.producer = {name: node for node in self.nodes for name in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.consumers[name].append(node)
        self.inputs = [value.name for value in graph.input]
        self.outputs = {value.name for value in graph.output}

    def array(self, name: str) -> NDArray[Any]:
        """Value of a constant."""
        return numpy_helper.to_array(self.constants[name])

    def is_layer(self, node: onnx.NodeProto) -> bool:
        """Whether a node is a layer: it has constant weights, a matrix where it is a MatMul."""
        if node.op_type not in WEIGHTED or node.input[1] not in self.constants:
            return False
        return node.op_type != "MatMul" or len(self.constants[node.input[1]].dims) == 2

    @property
    def layers(self) -> list[onnx.NodeProto]:
        """Nodes with weights, in graph order."""
        return [node for node in self.nodes if self.is_layer(node)]

    def only_consumer(self, tensor: str) -> onnx.NodeProto | None:
        """The node that takes ``tensor``, if it is one and the tensor is no output."""
        takers = self.consumers.get(tensor, [])
        return takers[0] if len(takers) == 1 and tensor not in self.outputs else None


def load_graph(source: Path | bytes) -> onnx.ModelProto:
    """Read an ONNX file and check that it keeps the input contract.

    What it takes and gives in particular, :func:`read_contract` tells.

    Raises
    ------
    ExportError
        Not ONNX, or another input or output.
    ArtifactError, StorageError
        A file of it cannot be read.
    """
    where = source if isinstance(source, Path) else "The graph"
    data = read_graph(source) if isinstance(source, Path) else source
    try:
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model)
        if any(not one.domain and one.version < _OLDEST for one in model.opset_import):
            model = _current(model)
    except (
        DecodeError, onnx.checker.ValidationError, OSError, ValueError, RuntimeError,
    ) as error:  # fmt: skip
        raise ExportError(f"{where} is not a valid ONNX graph: {first_line(error)}.") from error
    read_contract(model, where)
    return model


def read_contract(model: onnx.ModelProto, where: Path | str = "The graph") -> Contract:
    """What a graph takes and gives: size and colour from its shapes, labels from its metadata.

    A graph without labels in its metadata has those of FER2013, where they are as many.

    Raises
    ------
    ExportError
        Another input or output, which the message names, or as many labels as it has not outputs.
    """
    inputs, outputs = (
        [(v.name, v.type.tensor_type.elem_type, _sizes(v)) for v in values]
        for values in (model.graph.input, model.graph.output)
    )
    try:
        if [one[:2] for one in inputs] != [(INPUT_NAME, TensorProto.UINT8)]:
            raise ValueError(f"it takes {_listed(inputs)}")
        if [one[:2] for one in outputs] != [(OUTPUT_NAME, TensorProto.FLOAT)]:
            raise ValueError(f"it returns {_listed(outputs)}")
        facts = {p.key: p.value for p in model.metadata_props}
        (_, _, face), (_, _, shares) = *inputs, *outputs
        classes = shares[-1] if len(shares) == 2 else None
        return contract_of_shapes(face[1:], classes, split_labels(facts.get(LABELS_KEY)))
    except ValueError as error:
        raise ExportError(
            f"{where} does not take uint8 '{INPUT_NAME}' (N, 1 or 3, S, S), S from {SIZES[0]} to "
            f"{SIZES[1]}, and return float32 '{OUTPUT_NAME}' (N, K) with labels: {error}.",
            hint="Make an artifact of it with: fer-edge import FILE",
        ) from error


def _sizes(value: onnx.ValueInfoProto) -> list[int | None]:
    return [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]


def _listed(values: Iterable[tuple[str, int, list[int | None]]]) -> str:
    return ", ".join(
        f"{name} {TensorProto.DataType.Name(kind).lower()} "
        f"({', '.join('N' if size is None else str(size) for size in sizes)})"
        for name, kind, sizes in values
    )


def _current(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in the opset of those that are written; constants are initializers."""
    out = onnx.version_converter.convert_version(model, OPSET)
    out.ir_version = max(out.ir_version, IR_VERSION)
    nodes = []
    for node in out.graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            set_constant(out, node.output[0], numpy_helper.to_array(value))
        else:
            nodes.append(node)
    replace_nodes(out, nodes)
    return out


def outputs_axis(node: onnx.NodeProto) -> int:
    """Axis of a layer's weights along which its output channels lie."""
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return 0 if node.op_type == "Conv" else 1


def canonicalise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give an exported graph its lasting form.

    Names come from the layers (``layer1.0.conv1``), pooling and flattening are single operators,
    and nothing of the exporter's own bookkeeping is left.

    Raises
    ------
    ExportError
        A batch norm was not folded into its convolution.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    view = GraphView(out)
    if any(node.op_type == "BatchNormalization" for node in view.nodes):
        raise ExportError(
            "The exporter left a batch norm in the graph.", hint="Update torch and onnxscript."
        )
    for node in view.nodes:
        if node.op_type == "ReduceMean" and _spatial(view, node):
            _become(node, "GlobalAveragePool", node.input[:1])
        elif node.op_type == "Reshape" and list(view.array(node.input[1]))[1:] == [
            _features(view, node)
        ]:
            _become(node, "Flatten", node.input[:1], axis=1)
        elif node.op_type == "Identity":
            raise ExportError("The exporter left an Identity node in the graph.")
    _rename(out)
    drop_unused(out)
    del out.graph.value_info[:]
    for item in [out, out.graph, *out.graph.node, *out.graph.initializer]:
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    for value in [*out.graph.input, *out.graph.output]:
        value.ClearField("metadata_props")
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    out.graph.name = "fer_edge"
    out.ir_version = IR_VERSION
    out.opset_import[0].version = OPSET
    return finish(out)


def finish(model: onnx.ModelProto) -> onnx.ModelProto:
    """Check a rewritten graph and the shapes in it; ExportError if the rewrite broke it."""
    try:
        onnx.checker.check_model(model)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"The rewritten graph is not valid: {error}") from error
    return model


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    out = onnx.ModelProto()
    out.CopyFrom(model)
    return out


def plain_gemms(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function with alpha and beta of every Gemm in its weight and bias, outputs first.

    Computed weights and biases stay as they are.
    """
    out = copy_of(model)
    view = GraphView(model)
    for node in out.graph.node:
        if node.op_type != "Gemm" or any(name not in view.constants for name in node.input[1:]):
            continue
        found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        alpha, beta = found.pop("alpha", 1.0), found.pop("beta", 1.0)
        transposed = found.pop("transB", 0)
        if transposed and alpha == beta == 1:
            continue
        weight = view.array(node.input[1])
        weight = alpha * (weight if transposed else weight.T)
        node.input[1] = _own_constant(out, view, node.input[1], weight.astype(np.float32))
        if len(node.input) > 2:
            bias = beta * view.array(node.input[2])
            node.input[2] = _own_constant(out, view, node.input[2], bias.astype(np.float32))
        del node.attribute[:]
        node.attribute.extend(
            helper.make_attribute(k, v) for k, v in (found | {"transB": 1}).items()
        )
    drop_unused(out)
    return out


def _own_constant(model: onnx.ModelProto, view: GraphView, name: str, value: NDArray[Any]) -> str:
    """A constant of the one node that takes it: under its name, or a new one if others take it."""
    return set_constant(model, name if len(view.consumers[name]) == 1 else f"{name}/own", value)


def replace_nodes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> None:
    nodes = list(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def set_constant(model: onnx.ModelProto, name: str, value: NDArray[Any]) -> str:
    """Add or replace an initializer; returns its name."""
    tensor = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
    for existing in model.graph.initializer:
        if existing.name == name:
            existing.CopyFrom(tensor)
            return name
    model.graph.initializer.append(tensor)
    return name


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove nodes and constants that nothing takes."""
    used = {output.name for output in model.graph.output}
    nodes = []
    for node in reversed(model.graph.node):
        if used.intersection(node.output):
            used.update(node.input)
            nodes.append(node)
    replace_nodes(model, reversed(nodes))
    kept = [t for t in model.graph.initializer if t.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def graph_hash(model: onnx.ModelProto) -> str:
    """SHA-256 over structure and weights, blind to metadata and to the file's layout."""
    digest = hashlib.sha256()
    for node in model.graph.node:
        attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
        digest.update(repr((node.op_type, list(node.input), list(node.output))).encode())
        for attribute in attributes:
            digest.update(attribute)
    for tensor in sorted(model.graph.initializer, key=lambda t: t.name):
        value = numpy_helper.to_array(tensor)
        digest.update(repr((tensor.name, tensor.data_type, value.shape)).encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def layer_hashes(model: onnx.ModelProto) -> dict[str, str]:
    """Hash of the weights and bias of every weighted layer, 16 hexadecimal digits each."""
    view = GraphView(model)
    hashes = {}
    for node in view.layers:
        digest = hashlib.sha256()
        for name in node.input[1:]:
            value = view.array(name)
            digest.update(repr((value.dtype.str, value.shape)).encode())
            digest.update(value.tobytes())
        hashes[node.name] = digest.hexdigest()[:16]
    return hashes


def output_channels(model: onnx.ModelProto) -> dict[str, int]:
    """Outputs of every convolution and fully connected layer."""
    view = GraphView(plain_gemms(model))
    return {n.name: int(view.array(n.input[1]).shape[outputs_axis(n)]) for n in view.layers}


def set_metadata(model: onnx.ModelProto, facts: Mapping[str, str]) -> None:
    """Write ``fer_edge.<key>`` metadata, so that a lone file explains itself."""
    del model.metadata_props[:]
    helper.set_model_props(model, {f"fer_edge.{k}": v for k, v in facts.items()})


def name_outputs(model: onnx.ModelProto, contract: Contract) -> None:
    """Write the labels into the metadata, which every rewrite of the graph keeps."""
    facts = {p.key: p.value for p in model.metadata_props} | {LABELS_KEY: ",".join(contract.labels)}
    del model.metadata_props[:]
    helper.set_model_props(model, facts)


def _spatial(view: GraphView, node: onnx.NodeProto) -> bool:
    axes = sorted(int(a) % 4 for a in view.array(node.input[1]))
    return axes == [2, 3] and all(a.i for a in node.attribute if a.name == "keepdims")


def _features(view: GraphView, node: onnx.NodeProto) -> int:
    taker = view.only_consumer(node.output[0])
    if taker is None or taker.op_type != "Gemm":
        return -1
    return int(view.array(taker.input[1]).shape[1])


def _become(node: onnx.NodeProto, operator: str, inputs: Iterable[str], **attributes: Any) -> None:
    output = node.output[0]
    node.CopyFrom(helper.make_node(operator, list(inputs), [output], **attributes))


def _rename(model: onnx.ModelProto) -> None:
    """Name nodes and tensors after the layer whose weights they carry or follow."""
    view = GraphView(model)
    renamed: dict[str, str] = {INPUT_NAME: INPUT_NAME}
    constants = {t.name for t in model.graph.initializer}
    taken: set[str] = set()

    def unique(name: str) -> str:
        base, n = name, 2
        while name in taken:
            name, n = f"{base}_{n}", n + 1
        taken.add(name)
        return name

    for node in model.graph.node:
        if view.is_layer(node):
            layer = node.input[1].removeprefix("network.").removesuffix(".weight")
            for index, suffix in ((1, "weight"), (2, "bias")):
                if len(node.input) > index:
                    renamed[node.input[index]] = f"{layer}.{suffix}"
            node.name = unique(layer)
        else:
            source = next(renamed[name] for name in node.input if name not in constants)
            layer = source.split("/")[0]
            node.name = unique(f"{layer}/{node.op_type.lower()}")
        for position, output in enumerate(node.output):
            renamed[output] = (
                output
                if output == OUTPUT_NAME
                else node.name + (f":{position}" if position else "")
            )
    for node in model.graph.node:
        for field in (node.input, node.output):
            for position, name in enumerate(field):
                field[position] = renamed.get(name, name)
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
