"""Reading somebody's ONNX file: all of it in memory, one opset, no functions, no Constant nodes."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx.version_converter
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from fer_edge.errors import ExportError, first_line
from fer_edge.export.graph.view import IR_VERSION, OPSET
from fer_edge.export.importing.editing import FLOATS, Editable
from fer_edge.external_data import read_graph
from fer_edge.file_kinds import file_kind

OLDEST_OPSET = 9
NEWEST_OPSET = 24
_RESIZE_CHOOSES = 11
"""The first opset in which a Resize says where it finds pixels."""
_CHANGED = ("GroupNormalization",)
"""Operators that mean something else after :data:`~fer_edge.export.graph.view.OPSET`, and that ONNX
defines by others."""
_EXPANDED = "fer_edge.expanded"


def read_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with its external data.

    Raises
    ------
    ExportError
        Another kind of file, or damaged.
    ArtifactError, StorageError
        As of :func:`~fer_edge.external_data.read_graph`.
    """
    kind = file_kind(path)
    if kind.kind == "missing":
        raise ExportError(f"There is no {path}.", hint="Name an ONNX file or a file of weights.")
    if kind.kind != "onnx":
        raise ExportError(f"{path} is {kind.what}.", hint=None if not kind.way else f"{kind.way}.")
    try:
        model = onnx.load_model_from_string(read_graph(path))
        if not model.graph.node:
            raise ValueError("it has no graph")
        _single_names(model)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise ExportError(
            f"{path} cannot be read as ONNX: {first_line(error)[:200]}.",
            hint="Copy or download it again; it may be cut short.",
        ) from error
    return model


def editable(model: onnx.ModelProto, where: str) -> Editable:
    """The graph at one opset, as the passes take it.

    Raises
    ------
    ExportError
        Not valid, with operators of other domains or control flow, quantised, or of an opset
        outside 9 to 24.
    """
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if version is None or not OLDEST_OPSET <= version <= NEWEST_OPSET:
        raise ExportError(
            f"{where} is of opset {version}; {OLDEST_OPSET} to {NEWEST_OPSET} can be read.",
            hint=f"Export it again with opset {OPSET}.",
        )
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        _refuse(model, where)
        if version > OPSET:
            model = _lowered(model, version)
        onnx.checker.check_model(_sorted(model))
        if version < OPSET:
            model = onnx.version_converter.convert_version(_sorted(model), OPSET)
        if version < _RESIZE_CHOOSES:
            _resize_as_before(model)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise ExportError(
            f"{where} is not a valid ONNX graph: {first_line(error)[:200]}."
        ) from error
    for node in model.graph.node:
        while node.input and not node.input[-1]:  # what is optional and left out
            del node.input[-1]
    graph = Editable(model)
    _constants_out_of_nodes(graph)
    _one_float(graph)
    graph.nodes = graph.sorted_nodes()
    return graph


def _resize_as_before(model: onnx.ModelProto) -> None:
    """Where Resize of opset 10, and Upsample before, found pixels, which converting leaves out."""
    scales = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            scales[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for node in model.graph.node:
        if node.op_type == "Resize":
            smaller = len(node.input) > 2 and np.any(scales.get(node.input[2], 1) < 1)
            chosen = {
                "coordinate_transformation_mode": "asymmetric",
                "nearest_mode": "ceil" if smaller else "floor",  # as ONNX Runtime takes opset 10
            }
            kept = [a for a in node.attribute if a.name not in chosen]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.extend(helper.make_attribute(k, v) for k, v in chosen.items())


def _single_names(model: onnx.ModelProto) -> None:
    """Take away names that several nodes have: they name none, and ONNX Runtime refuses them."""
    counts = Counter(node.name for node in model.graph.node)
    for node in model.graph.node:
        if counts[node.name] > 1:
            node.name = ""


def _refuse(model: onnx.ModelProto, where: str) -> None:
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise ExportError(
                f"{where} holds {node.op_type} of the domain {node.domain!r}, which is no operator "
                "of ONNX.",
                hint="Export the network without optimising it for one runtime.",
            )
        if any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute):
            raise ExportError(
                f"{where} holds {node.op_type} ({node.name or 'without a name'}), and control flow "
                "cannot be followed.",
                hint="Export the network with branches and loops resolved, as by "
                "torch.onnx.export(..., dynamo=True).",
            )
        if node.op_type in ("QuantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger"):
            raise ExportError(
                f"{where} is quantised already: what INT8 lost is not to be had back.",
                hint="Import the float32 graph that it was made from; "
                "fer-edge export --int8 quantises it.",
            )


def _lowered(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """A graph of a newer opset in ours: operators that ours does not have by their definition."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    types = _types(model)
    for index, node in enumerate(out.graph.node):
        newer = onnx.defs.get_schema(node.op_type, version)
        try:
            ours = onnx.defs.get_schema(node.op_type, OPSET)
        except onnx.defs.SchemaError:
            ours = None
        if ours is None or (node.op_type in _CHANGED and newer.since_version > OPSET):
            _state_defaults(newer, node)
            function = _definition(newer, node, types)
            function.name, function.domain = f"{node.op_type}{index}", _EXPANDED
            del function.opset_import[:]
            function.opset_import.append(helper.make_opsetid("", version))
            out.functions.append(function)
            node.op_type, node.domain = function.name, _EXPANDED
        else:
            kept = [a for a in node.attribute if a.name in ours.attributes]
            del node.attribute[:]
            node.attribute.extend(kept)
    if out.functions:
        out.opset_import.append(helper.make_opsetid(_EXPANDED, 1))
        out = onnx.inliner.inline_local_functions(out)
        if any(node.op_type not in _names(OPSET) for node in out.graph.node):
            out.opset_import[0].version = version
            return _lowered(out, version)
    del out.opset_import[:]
    out.opset_import.append(helper.make_opsetid("", OPSET))
    out.ir_version = IR_VERSION
    return out


def _state_defaults(schema: onnx.defs.OpSchema, node: onnx.NodeProto) -> None:
    """Write attributes out that a node leaves to their defaults: definitions refer to them."""
    there = {attribute.name for attribute in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in there and attribute.default_value.type:
            node.attribute.append(attribute.default_value)


def _names(version: int) -> set[str]:
    schemas = onnx.defs.get_all_schemas_with_history()
    return {s.name for s in schemas if not s.domain and s.since_version <= version}


def _definition(
    schema: onnx.defs.OpSchema, node: onnx.NodeProto, types: dict[str, onnx.TypeProto]
) -> onnx.FunctionProto:
    """The function that ONNX defines an operator by; ValueError if it is defined by none."""
    function = onnx.FunctionProto()
    if schema.has_function:
        function.CopyFrom(schema.function_body)
    elif schema.has_context_dependent_function:
        inputs = [types.get(n, onnx.TypeProto()).SerializeToString() for n in node.input]
        body = schema.get_context_dependent_function(node.SerializeToString(), inputs)
        function.ParseFromString(body)
    else:
        raise ValueError(f"opset {OPSET} has no {node.op_type}")
    return function


def _types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    found = {v.name: v.type for v in (*inferred.value_info, *inferred.input, *inferred.output)}
    for tensor in inferred.initializer:
        found[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    return found


def _sorted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Nodes in an order in which they can be computed, and no shapes of inner tensors."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    nodes = Editable(out).sorted_nodes()
    del out.graph.node[:], out.graph.value_info[:]
    out.graph.node.extend(nodes)
    return out


def _constants_out_of_nodes(graph: Editable) -> None:
    """Constant nodes become constants."""
    kept = []
    for node in graph.nodes:
        if node.op_type == "Constant":
            (attribute,) = node.attribute
            value = helper.get_attribute_value(attribute)
            if attribute.name == "value":
                value = numpy_helper.to_array(value)
            kind = np.float32 if attribute.name.startswith("value_float") else None
            graph.constants[node.output[0]] = np.asarray(value, kind)
        else:
            kept.append(node)
    graph.nodes = kept
    graph.touch()


def _one_float(graph: Editable) -> None:
    """Half and double precision become float32, the one that everything here goes by."""
    for name, value in graph.constants.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        if kind in FLOATS and kind != TensorProto.FLOAT:
            graph.constants[name] = value.astype(np.float32)
    for node in graph.nodes:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in FLOATS:
                attribute.i = TensorProto.FLOAT
            elif attribute.name == "value" and attribute.t.data_type in FLOATS:
                value = numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(numpy_helper.from_array(value))
    for value in (*graph.inputs, *graph.outputs):
        if value.type.tensor_type.elem_type in FLOATS:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    graph.touch()
