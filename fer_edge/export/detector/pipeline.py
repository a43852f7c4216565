"""From the weights of a detector to its artifact."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import onnx
import onnxruntime

from fer_edge.artifact import CalibrationRecord, GraphRecord
from fer_edge.contract import PRECISIONS, Precision
from fer_edge.data import FaceDataset
from fer_edge.detector_artifact import DetectorArtifact, DetectorManifest, seal_detector
from fer_edge.detector_contract import BUCKETS, DETECTOR, KIND_KEY, Bucket
from fer_edge.engines.device_name import AUTO, gpu_of
from fer_edge.engines.tensorrt import TensorRTBackend
from fer_edge.export.detector.calibration import (
    SIZE,
    carried_table,
    detector_cpu_form,
    measure_table,
)
from fer_edge.export.detector.engines import BATCH, build_engines
from fer_edge.export.detector.network import detector_graph
from fer_edge.export.detector.proof import prove
from fer_edge.export.detector.weights import SHA256, Layer, packaged_weights, read_layers
from fer_edge.export.graph.counting import count_multiply_adds, count_parameters
from fer_edge.export.graph.view import GraphView, set_metadata
from fer_edge.export.pipeline import CALIBRATION, check_out
from fer_edge.export.quantization.forms.cpu_form import kept_on_cpus
from fer_edge.export.quantization.forms.float16 import to_float16
from fer_edge.export.quantization.forms.quantize import quantize
from fer_edge.export.quantization.placement import unquantised
from fer_edge.export.quantization.table import CalibrationTable
from fer_edge.export.targets.engine_plan import BatchRange, plan_engines
from fer_edge.files import atomic_folder
from fer_edge.version import __version__

MODEL = "retinaface-mobilenet-0.25"
Progress = Callable[[str, float], None]


def make_detector(
    out: Path,
    *,
    sizes: Sequence[Bucket] = BUCKETS,
    precisions: Iterable[Precision] = ("fp32", "int8"),
    data: FaceDataset | None = None,
    calibration: Path | None = None,
    seed: int = 0,
    backends: Sequence[TensorRTBackend] = (),
    batch: BatchRange = BATCH,
    workspace_mib: int = 1024,
    device: str = AUTO,
    progress: Progress | None = None,
) -> DetectorArtifact:
    """Write the artifact of the detector; the FP32 graphs are always in it.

    Parameters
    ----------
    out : Path
        Replaced as a whole when everything has succeeded, untouched otherwise.
    sizes : sequence of Bucket
        Of the frames.
    precisions : iterable of {"fp32", "fp16", "int8"}
    data : FaceDataset, optional
        Faces of which frames are made that measure the scales of INT8 anew, and on which every
        precision is scored. Without it INT8 has the scales that the package carries.
    calibration : Path, optional
        A ``calibration.json`` to take instead.
    seed : int
        Decides which faces lie where.
    backends : sequence of {"tensorrt", "tensorrt-rtx"}
        Build engines for these, of the precisions below fp32 (of fp32 if it is the only one).
    batch : BatchRange
        Of the engines: frames at once.
    workspace_mib : int
        GPU memory that a layer of an engine may use as scratch, in MiB.
    device : str
        GPU to build engines on and for.
    progress : callable, optional

    Raises
    ------
    MissingDependencyError
        The package with the weights is not installed.
    ModelError
        The weights are damaged or others.
    CalibrationError
        The table is of another graph, or the frames give no scale.
    EngineBuildError
        A builder refused a graph.
    StorageError
        ``out`` cannot be written.
    """
    tell = progress or (lambda _stage, _done: None)
    wanted = [p for p in PRECISIONS if p == "fp32" or p in set(precisions)]
    check_out(None, out)
    ordinal = gpu_of(device)
    planned = plan_engines(backends, wanted, ordinal=ordinal)
    layers = read_layers(packaged_weights())
    table = _table(layers, data, calibration, seed, tell) if "int8" in wanted else None
    with atomic_folder(out) as folder:
        made = _Graphs(folder)
        for done, size in enumerate(sizes, 1):
            made.add(detector_graph(layers, size), size, wanted, table)
            tell("Graphs", done / len(sizes))
        manifest = DetectorManifest(
            model=MODEL,
            weights=SHA256,
            parameters=made.parameters,
            multiply_adds=made.multiply_adds,
            graphs=made.records,
            versions={
                "fer-edge": __version__,
                "onnx": onnx.__version__,
                "onnxruntime": onnxruntime.__version__,
            },
        )
        if table is not None:
            table.save(folder / CALIBRATION)
            manifest.calibration = CalibrationRecord(
                file=CALIBRATION, method=table.method, samples=table.samples, data=table.data
            )
        manifest.engines = build_engines(
            folder,
            made.graphs,
            made.in_float32,
            planned,
            batch=batch,
            workspace_mib=workspace_mib,
            ordinal=ordinal,
            progress=tell,
        )
        artifact = seal_detector(folder, manifest)
        if data is not None:
            size = SIZE if SIZE in sizes else sizes[0]
            manifest.scores = prove(
                artifact, size, data.batch(slice(None)), data.fingerprint, seed=seed, progress=tell
            )
            artifact = seal_detector(folder, manifest)
    return DetectorArtifact(out, artifact.manifest)


def _table(
    layers: dict[str, Layer],
    data: FaceDataset | None,
    calibration: Path | None,
    seed: int,
    tell: Progress,
) -> CalibrationTable:
    if calibration is not None:
        return CalibrationTable.load(calibration)
    if data is None:
        return carried_table()
    return measure_table(
        detector_graph(layers, SIZE),
        MODEL,
        data.batch(slice(None)),
        seed=seed,
        fingerprint=data.fingerprint,
        progress=tell,
    )


@dataclass
class _Graphs:
    """The graphs of an artifact, written as they are made."""

    folder: Path
    graphs: dict[tuple[Precision, str], onnx.ModelProto] = field(default_factory=dict)
    """Those of record, by precision and size."""
    records: dict[Precision, dict[str, GraphRecord]] = field(default_factory=dict)
    multiply_adds: dict[str, int] = field(default_factory=dict)
    parameters: int = 0
    in_float32: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        graph: onnx.ModelProto,
        size: Bucket,
        wanted: Sequence[Precision],
        table: CalibrationTable | None,
    ) -> None:
        self.parameters = count_parameters(graph)
        self.multiply_adds[str(size)] = count_multiply_adds(graph)
        view = GraphView(graph)
        self.in_float32 = decoding(view)
        self._put(graph, size, "fp32")
        if "fp16" in wanted:
            self._put(to_float16(graph, self.in_float32), size, "fp16", self.in_float32)
        if table is not None:
            moved = table.moved_to(graph)
            kept = {**moved.kept, **unquantised(view)}
            record = self._put(quantize(graph, moved), size, "int8", kept)
            record.cpu_file = f"int8-{size}.cpu.onnx"
            record.cpu_kept = kept_on_cpus(graph, moved)
            form = detector_cpu_form(graph, moved)
            _write(form, self.folder / record.cpu_file, size, "int8", "cpu")

    def _put(
        self,
        graph: onnx.ModelProto,
        size: Bucket,
        precision: Precision,
        kept: dict[str, str] | None = None,
    ) -> GraphRecord:
        file = f"{precision}-{size}.onnx"
        _write(graph, self.folder / file, size, precision, "record")
        self.graphs[precision, str(size)] = graph
        record = GraphRecord(file=file, kept=kept or {})
        self.records.setdefault(precision, {})[str(size)] = record
        return record


def decoding(view: GraphView) -> dict[str, str]:
    """Nodes behind the heads, and why they compute in float32."""
    heads = unquantised(view)
    behind = {node.output[0] for node in view.nodes if node.name in heads}
    found = {}
    for node in view.nodes:
        if node.name not in heads and behind.intersection(node.input):
            behind.update(node.output)
            found[node.name] = "decoding: above 512 pixels float16 knows halves of pixels only"
    return found


def _write(
    graph: onnx.ModelProto,
    path: Path,
    size: Bucket,
    precision: Precision,
    form: Literal["record", "cpu"],
) -> None:
    facts = {
        KIND_KEY.removeprefix("fer_edge."): DETECTOR,
        "model": MODEL,
        "precision": precision,
        "form": form,
        "size": str(size),
        "weights": SHA256,
        "input": f"uint8 BGR frames (N, {size.height}, {size.width}, 3), normalised inside",
        "version": __version__,
    }
    set_metadata(graph, facts)
    path.write_bytes(graph.SerializeToString(deterministic=True))
