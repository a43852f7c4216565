"""fer-edge export"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.arguments import (
    CALIBRATION_METHODS,
    Device,
    Json,
    Labels,
    batches,
    model_or_carried,
)
from fer_edge.cli.console import counted, print_json, staged_progress
from fer_edge.cli.doubts import layers_at_fault, wrong_order
from fer_edge.contract import Precision
from fer_edge.errors import MissingDependencyError, UsageError
from fer_edge.tables import without_label

LISTED = 8
"""Nodes that are named where some stay out of a precision."""

if TYPE_CHECKING:
    from fer_edge.artifact import Artifact
    from fer_edge.engines.tensorrt import TensorRTBackend


def export(
    source: Annotated[
        Path | None,
        typer.Argument(
            help="Training run, artifact, its name, or fp32 ONNX file. (default: compact)"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Artifact folder to write. (default: build/NAME)")
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Add the FP16 graph.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Add the INT8 graph (Q/DQ).")] = False,
    fp8: Annotated[
        bool, typer.Option("--fp8", help="Add the FP8 graph (E4M3 Q/DQ), for GPUs that have it.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="FER2013: calibrates on the val split, and scores every precision."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="calibration.json of an earlier export, instead of data.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help=f"Calibration: {CALIBRATION_METHODS}, one of another package, or auto: whichever "
            "stays nearest to FP32."
        ),
    ] = "auto",
    samples: Annotated[int, typer.Option(min=1, help="Calibration faces, balanced.")] = 512,
    seed: Annotated[int, typer.Option(help="Decides which faces calibrate.")] = 0,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="INT8 may lose so many points of val accuracy, for example 0.2: layers that cost "
            "more stay in floating point. Needs --data."
        ),
    ] = None,
    best_effort: Annotated[
        bool,
        typer.Option("--best-effort", help="Write the best INT8 graph if none meets --max-drop."),
    ] = False,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Score every precision on blurred, dark, small, rotated, noisy and compressed "
            "faces, too, for the model card. Needs --data.",
        ),
    ] = False,
    proof: Annotated[
        Path | None,
        typer.Option(
            help="PNG of the faces that changed label, largest change first. Needs --data. Never "
            "part of the artifact: it shows faces of the data set."
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="Build engines for tensorrt or tensorrt-rtx; 'none' for no engines. "
            "(default: all that this machine can build)"
        ),
    ] = None,
    batch: Annotated[
        str, typer.Option(help="Batch sizes of engines: smallest,best,largest.")
    ] = "1,8,64",
    workspace: Annotated[
        int, typer.Option(min=1, help="Scratch memory of an engine's layer, in MiB.")
    ] = 1024,
    fp32_engine: Annotated[
        bool,
        typer.Option(
            "--fp32-engine",
            help="Build engines of FP32 (not TF32), too, to compare with. By default only where "
            "FP32 is all there is.",
        ),
    ] = False,
    device: Device = "auto",
    half_weights: Annotated[
        bool, typer.Option("--half-weights", help="Store fp32.onnx with float16 weights.")
    ] = False,
    int8_weights: Annotated[
        bool,
        typer.Option(
            "--int8-weights",
            help="Round weights to INT8 before all else, and write no fp32.onnx, which exports "
            "make again of int8.onnx: a quarter of the size. For networks trained with "
            "--int8-weights. Needs --int8.",
        ),
    ] = False,
    labels: Labels = None,
    triton: Annotated[
        Path | None,
        typer.Option(
            help="Write the graphs and plans as models of this Triton repository, too, with what "
            "DeepStream's nvinfer needs."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Export a model to ONNX in FP32, FP16, INT8 and FP8, and build TensorRT engines.

    INT8 and FP8 need activation ranges: from --data, from --calibration, or from the
    artifact itself (the carried model has them). An export that fails leaves the
    folder as it was.

    Example:
    fer-edge export runs/r50 --fp16 --int8 --data fer2013.zip --out build/r50
    """
    try:
        from fer_edge.export.importing.sources import open_source
        from fer_edge.export.pipeline import check_out, export_model
        from fer_edge.export.quantization.calibration import choices
        from fer_edge.export.targets.engine_plan import BatchRange
        from fer_edge.export.targets.triton import write_repository
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Exporting needs {error.name}, which is not installed.",
            hint="Install it with: pip install 'fer-edge[export]'",
        ) from error
    from fer_edge.data import load_dataset

    if method not in choices():
        raise UsageError(f"--method {method}: choose from {', '.join(choices())}.")
    if not (int8 or fp8) and calibration is not None:
        raise UsageError("--calibration is for INT8 and FP8.", hint="Add --int8 or --fp8.")
    if data is not None and calibration is not None:
        raise UsageError("--data and --calibration both tell the ranges.", hint="Choose one.")
    if max_drop is not None and not (int8 and data is not None):
        raise UsageError("--max-drop is for INT8 measured on faces.", hint="Add --int8 --data.")
    if best_effort and max_drop is None:
        raise UsageError("--best-effort is for --max-drop.", hint="Add --max-drop 0.2, or drop it.")
    if robustness and data is None:
        raise UsageError("--robustness is scored on faces.", hint="Add --data FER2013.")
    if int8_weights and (half_weights or not int8):
        raise UsageError(
            "--int8-weights stores the weights of the INT8 graph.",
            hint="Add --int8, and leave out --half-weights.",
        )
    precisions = _precisions(fp16, int8, fp8)
    if proof is not None:
        if data is None or precisions == ["fp32"]:
            raise UsageError(
                "--proof shows what a lower precision changes on faces.",
                hint="Add --int8 --data FER2013.",
            )
        if proof.suffix.lower() != ".png":
            raise UsageError(f"--proof {proof} is not a name for a PNG.", hint="End it in .png")
    sizes = batches(batch)
    if len(sizes) != 3:
        raise UsageError(f"--batch {batch}: give smallest,best,largest, for example 1,8,64")
    ranges = BatchRange(*sizes)
    origin = model_or_carried(source)
    # A package calls its folder otherwise than the model in it.
    target = out or Path("build") / (source or origin).resolve().name.removesuffix(".onnx")
    # Before the data, which may take a minute to read.
    check_out(origin, target)
    backends = engine_backends(engine, device)
    notes: list[str] = []
    with staged_progress(quiet=json) as tell:
        opened = open_source(origin)
        faces = (
            load_dataset(
                data,
                "val",
                labels=labels,
                contract=opened.contract,
                progress=counted(tell, "Reading faces"),
            )
            if data
            else None
        )
        artifact = export_model(
            opened,
            target,
            precisions=precisions,
            data=faces,
            calibration=calibration,
            method=method,
            samples=samples,
            seed=seed,
            backends=backends,
            batch=ranges,
            workspace_mib=workspace,
            fp32_engine=fp32_engine,
            device=device,
            half_weights=half_weights,
            int8_weights=int8_weights,
            max_drop=max_drop,
            best_effort=best_effort,
            faults=robustness,
            progress=tell,
            # An engine that was named is not left out.
            note=notes.append if engine is None else None,
        )
    if proof is not None and faces is not None:
        from fer_edge.evaluation.contact_sheet import draw_changed

        draw_changed(faces, artifact.manifest.scores, proof)
    served = write_repository(artifact, triton, max_batch=ranges.max) if triton else []
    if json:
        print_json({"artifact": str(target), **artifact.manifest.model_dump(mode="json")})
        return
    _show(artifact)
    if faces is not None:
        lines = wrong_order(artifact.manifest.scores.get("fp32"))
        for line in (*lines, *layers_at_fault(artifact, faces)):
            typer.echo(line)
    if proof is not None:
        typer.echo(f"The faces that changed: {proof}")
    if served:
        typer.echo(f"Models for Triton in {triton}: {', '.join(served)}")
    for line in notes:
        typer.echo(line)
    if engine is None and not backends:
        typer.echo("No engines: this machine has no TensorRT (see fer-edge doctor).")
    typer.echo(f"Next: fer-edge bench {shlex.quote(str(target))} --data FER2013")


def _precisions(fp16: bool, int8: bool, fp8: bool) -> list[Precision]:
    asked: dict[Precision, bool] = {"fp32": True, "fp16": fp16, "int8": int8, "fp8": fp8}
    return [precision for precision, wanted in asked.items() if wanted]


def engine_backends(named: list[str] | None, device: str) -> list["TensorRTBackend"]:
    """The TensorRT flavours to build for, none on the CPU; one that is named must be able to."""
    from fer_edge.engines.device_name import CPU
    from fer_edge.engines.tensorrt import TENSORRT_BACKENDS
    from fer_edge.engines.trial import try_to_build
    from fer_edge.errors import BackendUnavailableError, EngineError

    if named == ["none"] or (device == CPU and named is None):
        return []
    if device == CPU:
        raise UsageError("Engines are built for GPUs.", hint="Drop --device cpu, or --engine.")
    for name in named or ():
        if name not in TENSORRT_BACKENDS:
            raise UsageError(
                f"--engine {name}: choose from {', '.join(TENSORRT_BACKENDS)} or none."
            )
    able: list[TensorRTBackend] = []
    for name in TENSORRT_BACKENDS:
        if named is not None and name not in named:
            continue
        try:
            try_to_build(name)
        except EngineError as error:
            if named is not None:
                raise BackendUnavailableError(
                    f"{name} cannot build here: {error.message}", hint=error.hint
                ) from error
        else:
            able.append(name)
    return able


def _show(artifact: "Artifact") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from fer_edge.engines.speed import fastest, summary
    from fer_edge.evaluation import speed_verdict, verdict

    manifest = artifact.manifest
    table = Table(title=Text(f"{manifest.model} in {artifact.folder}"), title_justify="left")
    for column in ("file", "MB", "difference", "val %", "ECE %", "as fp32 %"):
        table.add_column(column, justify="left" if column == "file" else "right", overflow="fold")
    for precision, graph in manifest.graphs.items():
        score = manifest.scores.get(precision)
        difference = manifest.parity.get(precision)
        agreement = score.agreement_with_fp32 if score else None
        table.add_row(
            graph.file,
            f"{artifact.size(graph.file) / 1e6:.2f}",
            "-" if difference is None else f"{difference:.1e}",
            "-" if score is None else f"{100 * score.accuracy:.2f}",
            "-" if score is None or score.ece is None else f"{100 * score.ece:.2f}",
            "-" if agreement is None else f"{100 * agreement:.2f}",
        )
        if graph.cpu_file:
            size = artifact.size(graph.cpu_file)
            table.add_row(graph.cpu_file, f"{size / 1e6:.2f}", "", "", "", "")
    for engine in manifest.engines:
        size = manifest.files[engine.file].bytes
        table.add_row(engine.file, f"{size / 1e6:.2f}", "", "", "", "")
    Console().print(table)
    base = manifest.scores.get("fp32")
    for precision, score in manifest.scores.items():
        if base is not None and precision != "fp32":
            typer.echo(f"{precision} {verdict(base, score)}.")
    if base is not None and base.left_out:
        typer.echo(without_label(base.left_out))
    for speed in manifest.speeds:
        taken = fastest(speed, list(reversed(speed.ms)))
        typer.echo(
            f"{speed.backend} on this machine: {summary(speed, list(speed.ms))}; "
            f"{taken} is the fastest."
        )
        for precision in speed.ms:
            slow = speed_verdict(speed, precision, manifest.graphs[precision])
            if slow is not None:
                typer.echo(f"{slow}.")
    for precision, graph in manifest.graphs.items():
        wider = "float32" if precision == "fp16" else "floating point"
        _list(f"{graph.file} keeps in {wider}", graph.kept)
        _list(f"{graph.cpu_file} computes in float32", graph.cpu_kept)
    for engine in manifest.engines:
        if engine.precision != "fp16":
            _list(f"{engine.file} keeps in float32", engine.kept)
        _list(f"{engine.file} does not run in INT8", engine.not_int8)
        if engine.not_inspected:
            typer.echo(f"What {engine.file} runs in INT8 is not known: {engine.not_inspected}")


def _list(title: str, reasons: dict[str, str]) -> None:
    """Names and reasons, one a line; the manifest has those that are left out."""
    if reasons:
        typer.echo(f"{title}:")
    for name, reason in list(reasons.items())[:LISTED]:
        typer.echo(f"  {name}: {reason}")
    if len(reasons) > LISTED:
        typer.echo(f"  and {len(reasons) - LISTED} more, see manifest.json")
