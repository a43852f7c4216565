"""The export: from a run, an artifact or a graph to an artifact with graphs, table and engines."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import onnx
import onnxruntime

from fer_edge.artifact import (
    Artifact,
    CalibrationRecord,
    EngineRecord,
    GraphRecord,
    InputContract,
    Manifest,
    seal,
)
from fer_edge.contract import LABELS_KEY, PRECISIONS, Precision
from fer_edge.data import FaceDataset
from fer_edge.engines.device_name import AUTO, gpu_of
from fer_edge.engines.tensorrt import (
    TensorRTBackend,
    inspect_engine,
)
from fer_edge.engines.tuning import time_all
from fer_edge.errors import CalibrationError, EngineError, ExportError, UsageError
from fer_edge.export.graph.counting import count_multiply_adds, count_parameters
from fer_edge.export.graph.probing import check_values, largest_difference, probe_faces
from fer_edge.export.graph.shared_weights import share_weights
from fer_edge.export.graph.view import GraphView, set_metadata
from fer_edge.export.importing.source import Source
from fer_edge.export.importing.sources import open_source
from fer_edge.export.inspection.engine_layers import not_int8
from fer_edge.export.quantization.calibration import Progress, calibrate
from fer_edge.export.quantization.forms.cpu_form import cpu_form, kept_on_cpus
from fer_edge.export.quantization.forms.float8 import kept_from_float8, quantize_float8
from fer_edge.export.quantization.forms.float16 import (
    needs_float32,
    round_weights,
    store_half,
    to_float16,
)
from fer_edge.export.quantization.forms.int8_weights import check_restored, round_to_int8
from fer_edge.export.quantization.forms.quantize import quantize
from fer_edge.export.quantization.placement import kept_by_rule
from fer_edge.export.quantization.search import search
from fer_edge.export.quantization.table import CalibrationTable
from fer_edge.export.scoring import score_graphs
from fer_edge.export.targets.engine_file import write_engine
from fer_edge.export.targets.engine_plan import BatchRange, Note, Planned, plan_engines
from fer_edge.files import atomic_folder
from fer_edge.version import __version__

CALIBRATION = "calibration.json"
SPEED_S = 0.25
"""Timing at each batch size, all precisions together: short, and the bench is there for figures."""
FLOAT16_FACES = 128
"""Faces on which values are held against what float16 can hold."""


def export_model(
    source: Path | Source,
    out: Path,
    *,
    precisions: Iterable[Precision] = ("fp32",),
    data: FaceDataset | None = None,
    calibration: Path | None = None,
    method: str = "auto",
    samples: int = 512,
    seed: int = 0,
    backends: Sequence[TensorRTBackend] = (),
    batch: BatchRange | None = None,
    workspace_mib: int = 1024,
    fp32_engine: bool = False,
    device: str = AUTO,
    half_weights: bool = False,
    int8_weights: bool = False,
    max_drop: float | None = None,
    best_effort: bool = False,
    faults: bool = False,
    progress: Progress | None = None,
    note: Note | None = None,
) -> Artifact:
    """Write an artifact folder; the FP32 graph is in it unless ``int8_weights`` leaves it out.

    Parameters
    ----------
    source : Path or Source
        Training run, artifact folder or float32 ONNX file; or what was made of something else.
    out : Path
        Replaced as a whole when everything has succeeded, untouched otherwise.
    precisions : iterable of {"fp32", "fp16", "int8", "fp8"}
    data : FaceDataset, optional
        Calibrates INT8 and FP8, and scores every precision. At the size and colour and with the
        labels of the model, as ``contract`` of :func:`fer_edge.data.load_dataset` makes them.
    calibration : Path, optional
        A ``calibration.json`` to take instead of measuring.
    method
        As in :func:`fer_edge.export.quantization.calibration.choose_table`.
    samples, seed
        As in :func:`fer_edge.export.quantization.observation.observe_ranges`.
    backends : sequence of {"tensorrt", "tensorrt-rtx"}
        Build engines for these, of the precisions below fp32 (of fp32 if it is the only one).
    batch : BatchRange, optional
        Of the engines.
    workspace_mib : int
        GPU memory that a layer of an engine may use as scratch, in MiB.
    fp32_engine : bool
        Build an engine of fp32, too, to compare others with. It computes in float32, not in TF32.
    device : str
        GPU to build engines on and for, as :func:`fer_edge.engines.open_engine` has it.
    half_weights : bool
        Store weights as float16: half the size, rounded before anything else is derived.
    int8_weights : bool
        Round the weights of all layers that INT8 takes before anything else is derived, and leave
        out the FP32 graph, which exports make again of the INT8 graph, to the last bit. The form
        for CPUs has its weights in that file, too: all in a quarter of the size of float32. Without
        equalisation, which would round them otherwise. With ``data`` all precisions are held
        against the unrounded graph. Needs ``"int8"``.
    max_drop, best_effort
        Search for an INT8 graph inside this budget, in points of accuracy, as
        :func:`fer_edge.export.quantization.search.search` has it; needs ``data``.
    faults : bool
        Score every precision on spoilt faces, too, as
        :func:`fer_edge.evaluation.robustness.robustness` has it; needs ``data``.
    progress : callable, optional
    note : callable, optional
        Told which engines this GPU cannot have, which are left out; without it they are an error,
        before anything is made.

    Raises
    ------
    UsageError
        ``out`` is somebody else's or the source, or options exclude each other.
    CalibrationError
        INT8 or FP8 without data and without a table, or a table of another graph.
    BackendUnavailableError
        This GPU cannot have an engine that is asked for.
    ExportError
        The graph cannot be exported or differs from its model; or with ``int8_weights`` INT8 loses
        more than noise on ``data``.
    EngineBuildError
        A builder refused a graph.
    StorageError
        ``out`` cannot be written.
    """
    tell = progress or (lambda _stage, _done: None)
    wanted = [p for p in PRECISIONS if p == "fp32" or p in set(precisions)]
    if int8_weights and (half_weights or "int8" not in wanted):
        raise UsageError(
            "Weights in INT8 alone are those of the INT8 graph.",
            hint="Ask for int8, and not for half_weights.",
        )
    path = source.path if isinstance(source, Source) else source
    check_out(path, out)
    ordinal = gpu_of(device)
    planned = plan_engines(backends, wanted, fp32_engine=fp32_engine, ordinal=ordinal, note=note)
    tell("Graph", 0)
    origin = source if isinstance(source, Source) else open_source(source)
    contract, unrounded = origin.contract, origin.graph
    if data is not None:
        data.require(contract)
    for asked, name, rounding in (
        (half_weights, "half_weights", round_weights),
        (int8_weights, "int8_weights", round_to_int8),
    ):
        if asked:
            origin.graph = rounding(unrounded)
            origin.parity[name] = largest_difference(unrounded, origin.graph, contract)
    tell("Graph", 1)
    manifest = Manifest(
        model=origin.name,
        labels=contract.labels,
        input=InputContract.of(contract),
        training=origin.training,
        parity=dict(origin.parity),
        parameters=count_parameters(origin.graph),
        multiply_adds=count_multiply_adds(origin.graph),
        versions={
            "fer-edge": __version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
            **origin.versions,
        },
    )
    graphs: dict[Precision, onnx.ModelProto] = {"fp32": origin.graph}
    probes = probe_faces(contract)
    check_values(origin.graph, probes)
    faces = probes if data is None else data.batch(slice(FLOAT16_FACES))
    kept: dict[Precision, dict[str, str]] = {}
    in_float32: dict[Precision, dict[str, str]] = {}
    if "fp16" in wanted:
        tell("Values in float16", 0)
        kept["fp16"] = in_float32["fp16"] = needs_float32(origin.graph, faces)
        graphs["fp16"] = to_float16(origin.graph, kept["fp16"])
        tell("Values in float16", 1)
    with atomic_folder(out) as folder:
        if {"int8", "fp8"} & set(wanted):
            if max_drop is not None and data is not None:
                table = search(
                    origin.graph,
                    origin.name,
                    data,
                    max_drop=max_drop,
                    best_effort=best_effort,
                    method=method,
                    samples=samples,
                    seed=seed,
                    equalised=not int8_weights,
                    progress=tell,
                )
            else:
                table = _table(
                    *(origin, data, calibration, method, samples, seed),
                    equalised=not int8_weights,
                    tell=tell,
                )
            table.save(folder / CALIBRATION)
            manifest.calibration = CalibrationRecord(
                file=CALIBRATION, method=table.method, samples=table.samples, data=table.data
            )
            if planned:
                prepared = table.prepared(origin.graph)
                in_float32["int8"] = in_float32["fp8"] = needs_float32(prepared, faces)
        by_rule = kept_by_rule(GraphView(origin.graph))
        if "int8" in wanted:
            graphs["int8"] = quantize(origin.graph, table)
            if int8_weights:
                check_restored(graphs["int8"], origin.graph)
            kept["int8"] = table.kept | by_rule
        if "fp8" in wanted:
            graphs["fp8"] = quantize_float8(origin.graph, table)
            kept["fp8"] = kept_from_float8(origin.graph, table) | by_rule
        for precision, graph in graphs.items():
            stored = store_half(graph) if precision == "fp32" and half_weights else graph
            file = folder / f"{precision}.onnx"
            _write(stored, file, origin, precision, "record")
            if precision == "int8":
                form = cpu_form(origin.graph, table)
                if int8_weights:
                    form = share_weights(form, file.read_bytes(), file.name)
                _write(form, folder / "int8.cpu.onnx", origin, "int8", "cpu")
            manifest.graphs[precision] = GraphRecord(
                file=f"{precision}.onnx",
                cpu_file="int8.cpu.onnx" if precision == "int8" else None,
                kept=kept.get(precision, {}),
                cpu_kept=kept_on_cpus(origin.graph, table) if precision == "int8" else {},
            )
        for precision in graphs:
            if precision != "fp32":
                manifest.parity[precision] = largest_difference(
                    origin.graph, graphs[precision], contract
                )
        manifest.engines = _build(
            *(folder, graphs, kept, in_float32, planned, ordinal),
            *(batch or BatchRange(), workspace_mib, tell),
        )
        artifact = seal(folder, manifest)
        if data is not None:
            base = score_graphs(artifact, data, faults, tell, unrounded if int8_weights else None)
            loss = manifest.scores["int8"].loss_against(base) if int8_weights else None
            if loss is not None:
                raise ExportError(
                    f"In INT8 alone {origin.name} {loss}, and no other graph would be left.",
                    hint="Leave out --int8-weights, or train with it, too.",
                )
        if int8_weights:
            (folder / manifest.graphs.pop("fp32").file).unlink()
        if len(manifest.graphs) > 1:
            manifest.speeds = time_all(artifact, seconds=SPEED_S, device=device, progress=tell)
        artifact = seal(folder, manifest)
    return Artifact(out, artifact.manifest)


def check_out(source: Path | None, out: Path) -> None:
    """Raise UsageError unless an export of ``source`` may replace ``out``."""
    if out.exists() and not _replaceable(out):
        raise UsageError(
            f"{out} exists and is not an artifact; it is left as it is.",
            hint="Choose another --out.",
        )
    if out.exists() and source is not None and source.exists() and out.samefile(source):
        raise UsageError(
            f"{out} is what is being exported, and would lose what this export does not make.",
            hint="Choose another --out.",
        )


def _replaceable(out: Path) -> bool:
    return out.is_dir() and ((out / "manifest.json").is_file() or not any(out.iterdir()))


def _table(
    origin: Source,
    data: FaceDataset | None,
    calibration: Path | None,
    method: str,
    samples: int,
    seed: int,
    *,
    equalised: bool,
    tell: Progress,
) -> CalibrationTable:
    if calibration is not None:
        table = CalibrationTable.load(calibration)
        try:
            table.check(origin.graph)
            table.prepared(origin.graph)
        except CalibrationError as error:
            raise CalibrationError(f"{calibration}: {error.message}", hint=error.hint) from error
        return table
    if data is not None:
        return calibrate(
            origin.graph,
            origin.name,
            data,
            method=method,
            samples=samples,
            seed=seed,
            equalised=equalised,
            progress=tell,
        )
    if origin.table is None:
        raise CalibrationError(
            f"INT8 and FP8 need the activation ranges of {origin.name}, and nothing tells them.",
            hint="Pass --data FER2013 to measure them, or --calibration TABLE.",
        )
    return origin.table


def _write(
    graph: onnx.ModelProto,
    path: Path,
    origin: Source,
    precision: Precision,
    form: Literal["record", "cpu"],
) -> None:
    set_metadata(
        graph,
        {
            "model": origin.name,
            "precision": precision,
            "form": form,
            LABELS_KEY.removeprefix("fer_edge."): ",".join(origin.contract.labels),
            "input": f"{origin.contract.input_text}, normalised inside",
            "version": __version__,
        },
    )
    path.write_bytes(graph.SerializeToString(deterministic=True))


def _build(
    folder: Path,
    graphs: Mapping[Precision, onnx.ModelProto],
    kept: Mapping[Precision, Mapping[str, str]],
    in_float32: Mapping[Precision, dict[str, str]],
    planned: Sequence[Planned],
    ordinal: int,
    batch: BatchRange,
    workspace_mib: int,
    tell: Progress,
) -> list[EngineRecord]:
    records = []
    for backend, precision in planned:
        graph = graphs[precision]
        if precision in ("int8", "fp8"):
            graph = to_float16(graph, in_float32[precision])
        record, plan = write_engine(
            folder,
            graph,
            (backend, precision),
            batch=batch,
            workspace_mib=workspace_mib,
            ordinal=ordinal,
            progress=tell,
        )
        record.kept = dict(in_float32.get(precision, {}))
        # TensorRT-RTX chooses its kernels only when a GPU loads the engine.
        if backend == "tensorrt" and precision == "int8":
            try:
                layers = inspect_engine(plan, backend, batch=batch.opt, device=ordinal)
                record.not_int8 = not_int8(graphs["int8"], layers, kept["int8"])
            except EngineError as error:  # the engine is no worse for it
                record.not_inspected = error.message
        records.append(record)
    return records
