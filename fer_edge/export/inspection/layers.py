"""An artifact layer by layer: what runs in which precision, with what it is fused, and why."""

from collections import defaultdict
from collections.abc import Callable

import onnx
import pydantic
from onnx import TensorProto

from fer_edge.artifact import Artifact
from fer_edge.contract import Precision
from fer_edge.data import FaceDataset
from fer_edge.errors import CalibrationError
from fer_edge.export.graph.counting import layer_multiply_adds
from fer_edge.export.graph.view import WEIGHTED, GraphView, load_graph
from fer_edge.export.importing.sources import float32_graph
from fer_edge.export.quantization.forms.float16 import widen
from fer_edge.export.quantization.placement import main_branch, unquantised
from fer_edge.export.quantization.sensitivity import measure_sensitivity
from fer_edge.export.quantization.table import CalibrationTable

_NAMES = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.INT8: "int8",
    TensorProto.FLOAT8E4M3FN: "fp8",
    TensorProto.UINT8: "uint8",
}


class LayerReport(pydantic.BaseModel):
    """A layer of an artifact, with the operators that are fused into it."""

    model_config = pydantic.ConfigDict(extra="forbid")

    name: str
    operator: str
    shape: list[int] = []
    """Of the weights: outputs, inputs, then the kernel. Empty where there are none."""
    multiply_adds: int = 0
    """For one face."""
    precision: str
    """In which the stored graph computes it."""
    fused: list[str] = []
    """Operators that TensorRT computes in the same kernel, by the rules the graph is made for."""
    divergence: float | None = None
    """Of the probabilities from float32's when this layer alone is in INT8, in nats."""
    accuracy_drop: float | None = None
    """Share of faces, 0..1, lost when this layer alone is in INT8; negative where some are won."""
    kept: str | None = None
    """Why it computes in a wider type than the graph's precision."""
    engines: dict[str, str] = {}
    """Engine file to why it does not run this layer in INT8."""


def describe_layers(artifact: Artifact, precision: Precision) -> list[LayerReport]:
    """Report on every layer of an artifact's graph, in graph order.

    The sensitivity is that of ``calibration.json``, where it was measured.

    Raises
    ------
    ArtifactError
        The artifact has no graph at this precision, or is damaged.
    ExportError
        A graph in it is not one that FER-Edge exported.
    """
    return _describe(artifact, precision, _read_table(artifact))


def _describe(
    artifact: Artifact, precision: Precision, table: CalibrationTable | None
) -> list[LayerReport]:
    record = artifact.graph(precision)
    base = float32_graph(artifact)
    graph = load_graph(artifact.read(record.file))
    computes = _precisions(graph)
    counts = layer_multiply_adds(base)
    view = GraphView(base)
    fused = _fused(view)
    inside = {name for names in fused.values() for name in names}
    operators = {node.name: node.op_type for node in view.nodes}
    reports = []
    for node in view.nodes:
        if node.name in inside:
            continue
        found = computes.get(node.name, "fp32")
        sensitivity = table.sensitivity.get(node.name) if table is not None else None
        weighted = view.is_layer(node)
        reports.append(
            LayerReport(
                name=node.name,
                operator=node.op_type,
                shape=list(view.array(node.input[1]).shape) if weighted else [],
                multiply_adds=counts.get(node.name, 0),
                precision=found,
                fused=[operators[name] for name in fused[node.name]],
                divergence=sensitivity.divergence if sensitivity else None,
                accuracy_drop=sensitivity.accuracy_drop if sensitivity else None,
                kept=record.kept.get(node.name) or _by_rule(view, node, precision),
                engines={
                    engine.file: engine.not_int8[node.name]
                    for engine in artifact.manifest.engines
                    if engine.precision == precision and node.name in engine.not_int8
                },
            )
        )
    return reports


def measured_layers(
    artifact: Artifact,
    precision: Precision,
    data: FaceDataset,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[LayerReport]:
    """As :func:`describe_layers`, with what INT8 costs in each layer measured on ``data``.

    Raises
    ------
    CalibrationError
        The artifact has no calibration table, or an emotion has no face.
    ArtifactError, ExportError
        As :func:`describe_layers`.
    """
    table = _read_table(artifact)
    if table is None:
        raise CalibrationError(
            f"{artifact.folder} has no calibration table, so nothing says what INT8 would be.",
            hint="Export it with --int8, or leave --data out.",
        )
    base = float32_graph(artifact)
    table.sensitivity = measure_sensitivity(base, table, data, progress=progress)
    return _describe(artifact, precision, table)


def _read_table(artifact: Artifact) -> CalibrationTable | None:
    record = artifact.manifest.calibration
    if record is None:
        return None
    return CalibrationTable.parse(artifact.read(record.file), str(artifact.folder / record.file))


def _precisions(graph: onnx.ModelProto) -> dict[str, str]:
    """Node to the type that it computes in."""
    view = GraphView(widen(graph))
    inferred = onnx.shape_inference.infer_shapes(graph).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.input)}
    types |= {tensor.name: tensor.data_type for tensor in view.constants.values()}
    found = {}
    for node in view.nodes:
        which = list(node.input[: 2 if node.op_type in WEIGHTED else 1])
        sources = [view.producer.get(name) for name in which]
        if all(s is not None and s.op_type == "DequantizeLinear" for s in sources):
            which = [s.input[0] for s in sources if s is not None]
        found[node.name] = _NAMES.get(types.get(which[-1], TensorProto.FLOAT), "other")
    return found


def _fused(view: GraphView) -> dict[str, list[str]]:
    """Node to those that TensorRT computes with it: residual add, activation, reshape.

    References
    ----------
    https://docs.nvidia.com/deeplearning/tensorrt/latest/performance/best-practices.html,
    "Types of Fusions".
    """
    found: dict[str, list[str]] = defaultdict(list)
    inside: set[str] = set()
    for node in view.nodes:
        if node.name in inside:
            continue
        tensor = node.output[0]
        while (follower := _follower(view, node, tensor)) is not None:
            found[node.name] += [one.name for one in follower]
            inside |= {one.name for one in follower}
            tensor = follower[-1].output[0]
    return found


def _follower(view: GraphView, node: onnx.NodeProto, tensor: str) -> list[onnx.NodeProto] | None:
    takers = view.consumers.get(tensor, [])
    if {taker.op_type for taker in takers} == {"Sigmoid", "Mul"} and len(takers) == 2:
        # SiLU.
        sigmoid, product = sorted(takers, key=lambda taker: taker.op_type, reverse=True)
        return [sigmoid, product] if sigmoid.output[0] in product.input else None
    taker = view.only_consumer(tensor)
    if taker is None:
        return None
    if taker.op_type == "Add":
        return [taker] if main_branch(view, taker) == node.name else None
    computes = view.is_layer(node) or node.op_type == "Add"
    activation = taker.op_type in ("Relu", "Sigmoid", "Clip") and computes
    return [taker] if activation or taker.op_type in ("Flatten", "Sub") else None


def _by_rule(view: GraphView, node: onnx.NodeProto, precision: Precision) -> str | None:
    """Why the rules of placement keep a layer out of eight bits."""
    if precision not in ("int8", "fp8"):
        return None
    return unquantised(view).get(node.name)
