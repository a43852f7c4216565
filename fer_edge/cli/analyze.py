"""fer-edge analyze"""

import time
from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.archive import Archiving, analyze_into_folder, is_address
from fer_edge.cli.arguments import (
    Following,
    Json,
    ModelOption,
    Recognizing,
    model_name,
    model_or_carried,
)
from fer_edge.cli.console import complain, counted, fail, print_json, staged_progress
from fer_edge.cli.groups import grouped
from fer_edge.errors import CaptureError, UsageError
from fer_edge.files import check_apart, shown
from fer_edge.version import __version__


@grouped
def analyze(
    *,
    recordings: Annotated[
        list[str],
        typer.Argument(
            help="Video or folder of images; into a folder any number of folders, globs, lists "
            "(.txt, or - for standard input), photos and videos."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            help="Table to write, a row per face and frame: .parquet, .csv or .jsonl. Or a folder, "
            "or s3://bucket/folder, for rows in many Parquet files."
        ),
    ],
    plot: Annotated[
        Path | None,
        typer.Option(help="PNG of the emotions over time. (default: beside the table)"),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            help="Rate of the images, whatever times a video has. (default: a video's own; images "
            "of a folder stand for themselves, without tracks)"
        ),
    ] = None,
    following: Following,
    archiving: Archiving,
    model: ModelOption = None,
    recognizing: Recognizing,
    json: Json = False,
) -> None:
    """Follow the faces through recordings, every frame, as fast as it goes.

    Writes a table with box, track, emotion and probabilities (p_: smoothed over
    time, raw_: of the frame alone), and a picture of the emotions over time. A
    Parquet file tells in its metadata how it was made. Where the recording breaks
    off, what was read is kept, and the exit status is 3.

    Into a folder it takes any number of photos and videos, in processes or on Ray.
    What cannot be read is a row of errors.parquet, and the exit status is then 1.
    Run again after whatever ended it, it does what is left, every row once.

    Examples:
    fer-edge analyze party.mp4 --out party.parquet
    fer-edge analyze /data/photos "/data/**/*.mp4" --out rows/
    """
    if not _is_table(out):
        if plot is not None or fps is not None:
            raise UsageError(
                f"--plot and --fps are for one recording and a table, and {out} is a folder.",
                hint="Drop them, or end --out in .parquet, .csv or .jsonl.",
            )
        analyze_into_folder(recordings, out, following, archiving, model, recognizing, json)
    if len(recordings) > 1:
        raise UsageError(
            f"{out} is one table, for one recording.", hint="For several name a folder: --out rows/"
        )
    if archiving != Archiving():
        raise UsageError(
            f"{out} is one table, which one process writes.",
            hint="For --workers, --ray and --span name a folder: --out rows/",
        )
    recording = Path(recordings[0])
    _analyze_one(recording, Path(out), plot, fps, following, model, recognizing, json)


def _is_table(out: str) -> bool:
    """Whether this names a file, rather than a folder or an address."""
    return not (is_address(out) or out.endswith("/") or Path(out).is_dir() or not Path(out).suffix)


def _analyze_one(
    recording: Path,
    out: Path,
    plot: Path | None,
    fps: float | None,
    following: Following,
    model: Path | None,
    recognizing: Recognizing,
    json: bool,
) -> None:
    """Write one table of one recording, and its picture."""
    from fer_edge.evaluation.plots import check_plot
    from fer_edge.runtime import Camera
    from fer_edge.runtime.capture.folder import tell_skipped
    from fer_edge.runtime.recording import analyze
    from fer_edge.runtime.row_files import check_rows, open_rows
    from fer_edge.runtime.summary import Summary
    from fer_edge.runtime.summary_plot import plot_summary

    picture = out.with_suffix(".png") if plot is None else plot
    check_rows(out)
    check_plot(picture)
    finder = following.make(recognizing.device, recognizing.threads)
    detect_every = following.detect_every or 1
    path = model_or_carried(model)
    name = model_name(path)
    with (
        Camera(recording, fps=fps) as camera,
        recognizing.recognizer(path) as recognizer,
        staged_progress(quiet=json) as tell,
    ):
        for made in (out, picture):
            check_apart(made, camera.files)
        engine = recognizer.describe()
        labels = recognizer.contract.labels
        summary = Summary(labels)
        facts = {
            "recording": camera.name,
            "model": name,
            "precision": engine.precision,
            "backend": engine.backend,
            "backend_version": engine.backend_version,
            "fer_edge_version": __version__,
            "detector": following.name,
            "min_score": following.min_score,
            "detect_every": detect_every,
            "smooth_seconds": following.smoothing,
            "threshold": recognizer.threshold,
        }
        started = time.monotonic()
        progress, total = counted(tell, "Analyzing"), camera.length
        moments = analyze(
            lambda faces: recognizer(faces).probabilities,
            camera,
            finder,
            detect_every=detect_every,
            smooth_seconds=following.smoothing,
            contract=recognizer.contract,
        )
        with open_rows(out, facts, labels) as write:
            for moment in moments:
                moment = moment.with_threshold(recognizer.threshold)
                write(moment.to_rows())
                summary.add(moment)
                progress(summary.frames, total)
            for failure in camera.failures:
                complain(str(failure))
            if not summary.frames:
                raise camera.error or CaptureError(
                    f"{camera.name} has no frame that can be read.", hint="Try it in a player."
                )
        elapsed = time.monotonic() - started
    plot_summary(summary, f"{shown(recording.name)}, {name} {engine.precision}", picture)
    failed = [{"file": one.file, "error": str(one)} for one in camera.failures]
    if json:
        print_json(
            {
                **facts,
                **summary.to_dict(),
                "broken_off": None if camera.error is None else str(camera.error),
                "errors": failed,
                "skipped": camera.skipped,
                "table": str(out),
                "plot": str(picture),
            }
        )
        _tell_end(camera.error, failed)
        return
    duration = "" if summary.seconds is None else f" of {summary.seconds:,.1f} s"
    typer.echo(
        f"{camera.name}: {summary.frames:,} frames{duration} in {elapsed:,.1f} s, "
        f"{summary.faces:,} faces" + (f" on {len(summary.tracks):,} tracks" if duration else "")
    )
    ranked = sorted(summary.shares.items(), key=lambda pair: -pair[1])
    typer.echo(", ".join(f"{name} {100 * share:.1f} %" for name, share in ranked))
    if failed:
        typer.echo(f"Not read: {', '.join(one['file'] for one in failed)}")
    if camera.skipped:
        typer.echo(f"No images, skipped: {tell_skipped(camera.skipped)}")
    typer.echo(f"Table: {out}")
    typer.echo(f"Picture: {picture}")
    _tell_end(camera.error, failed)


def _tell_end(error: Exception | None, failed: list[dict[str, str]]) -> None:
    """Exit with a status of its own where not all was read."""
    if error is not None:
        fail(f"{error} What was read is in the table.", getattr(error, "exit_code", 1))
    raise typer.Exit(bool(failed))
