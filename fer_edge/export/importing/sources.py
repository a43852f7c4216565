"""What can be exported: a training run, an artifact, or a lone float32 graph."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from fer_edge.artifact import Artifact
from fer_edge.errors import ExportError, MissingDependencyError, TrainingError
from fer_edge.export.graph.view import GraphView, load_graph, read_contract
from fer_edge.export.importing.source import Source
from fer_edge.export.quantization.forms.float16 import widen
from fer_edge.export.quantization.forms.int8_weights import without_pairs
from fer_edge.export.quantization.table import CalibrationTable
from fer_edge.file_kinds import file_kind
from fer_edge.sealed import MANIFEST

RUN_CONFIG = "config.json"
"""What makes a folder a training run."""


def open_source(path: Path) -> Source:
    """Open a run folder, an artifact folder or an ONNX file.

    Raises
    ------
    ExportError
        None of the three, or a graph that has lost float32.
    TrainingError, ArtifactError, ModelError
        The folder is damaged.
    MissingDependencyError
        A run was named and torch is not installed.
    """
    if (path / MANIFEST).is_file():
        source = _artifact(Artifact.load(path))
    elif path.is_dir():
        source = _run(path)
    elif path.is_file():
        source = _file(path)
    else:
        raise ExportError(
            f"There is no {path}.", hint="Name a training run, an artifact or an ONNX file."
        )
    source.path = path
    return source


def float32_graph(artifact: Artifact) -> onnx.ModelProto:
    """The float32 graph of an artifact, of its INT8 graph where that is all it has.

    Raises
    ------
    ArtifactError
        It has neither, or is damaged.
    ExportError
        The graph has lost float32.
    """
    if artifact.manifest.only_int8:
        return without_pairs(load_graph(artifact.read(artifact.graph("int8").file)))
    return _float32(load_graph(artifact.read(artifact.graph("fp32").file)), str(artifact.folder))


def _artifact(artifact: Artifact) -> Source:
    manifest = artifact.manifest
    graph = float32_graph(artifact)
    table = None
    if manifest.calibration is not None:
        file = manifest.calibration.file
        table = CalibrationTable.parse(artifact.read(file), str(artifact.folder / file))
    return Source(
        manifest.model,
        graph,
        manifest.training,
        {k: v for k, v in manifest.parity.items() if k in ("fp32", "half_weights", "int8_weights")},
        table,
        {k: v for k, v in manifest.versions.items() if k == "torch"},
        artifact.contract,
    )


def _file(path: Path) -> Source:
    kind = file_kind(path)
    if kind.kind != "onnx":
        raise ExportError(f"{path} is {kind.what}.", hint=f"{kind.way}." if kind.way else None)
    if path.suffix.lower() == ".onnx" and _foreign(path):
        from fer_edge.export.importing.importer import import_kept

        return import_kept(path)
    graph = _float32(load_graph(path), str(path))
    facts = {p.key: p.value for p in graph.metadata_props}
    return Source(facts.get("fer_edge.model", path.stem), graph, contract=read_contract(graph))


def _foreign(path: Path) -> bool:
    """Whether a graph that keeps the contract was written by somebody else."""
    try:
        model = onnx.load(path, load_external_data=False)
        if any(p.key == "fer_edge.form" for p in model.metadata_props):
            return False
        read_contract(model, path)
    except (DecodeError, OSError, ValueError, ExportError):
        return False  # load_graph says what is wrong.
    # What has lost float32 is told so.
    half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)
    return not half and not any(n.op_type == "QuantizeLinear" for n in model.graph.node)


def _float32(graph: onnx.ModelProto, where: str) -> onnx.ModelProto:
    graph = widen(graph)
    view = GraphView(graph)
    if any(n.op_type == "QuantizeLinear" for n in view.nodes) or any(
        t.data_type == onnx.TensorProto.FLOAT16 for t in graph.graph.initializer
    ):
        raise ExportError(
            f"{where} is not a float32 graph: what FP16 or INT8 lost is not to be had back.",
            hint="Export from the fp32 graph, the artifact or the run that it came from.",
        )
    return graph


def _run(path: Path) -> Source:
    if not (path / RUN_CONFIG).is_file():
        raise TrainingError(
            f"{path} is neither an artifact nor a training run: it has no {RUN_CONFIG}.",
            hint="Make one with: fer-edge train --data fer2013.zip --out RUN",
        )
    try:
        from fer_edge.export.importing.torch_export import export_run
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Exporting the run {path} needs {error.name}, which is not installed.",
            hint="Install it with: pip install 'fer-edge[train]'",
        ) from error
    exported = export_run(path)
    return Source(
        exported.name,
        exported.graph,
        exported.training,
        {"fp32": exported.difference},
        None,
        {"torch": exported.torch_version},
        exported.contract,
    )
