"""fer-edge analyze, into a folder: any number of photos and videos."""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from fer_edge.cli.arguments import Finding, Following, Recognizing, model_name, model_or_carried
from fer_edge.cli.console import complain, print_json, staged_progress
from fer_edge.errors import UsageError
from fer_edge.external_data import read_graph
from fer_edge.version import __version__

if TYPE_CHECKING:
    from fer_edge.archive import Executor, Listing, Settings, Summary
    from fer_edge.runtime.detection import Detector

_MOST_TOLD = 5
"""Errors that are shown; errors.parquet has all."""


_PANEL = "Folders of rows"


@dataclass(frozen=True)
class Archiving:
    """Who does the work, and how videos are shared out."""

    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes. (default: one per core)", rich_help_panel=_PANEL),
    ] = None
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="Work on a Ray cluster: host:port of its head. (default: what RAY_ADDRESS says, "
            "or the cluster of this machine)",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None
    span: Annotated[
        float,
        typer.Option(
            min=1,
            help="Videos are cut at key frames into spans of so many seconds, each with tracks "
            "of its own.",
            rich_help_panel=_PANEL,
        ),
    ] = 60.0


@dataclass(frozen=True)
class DetectorChoice:
    """What makes the detector that options mean, in other processes, too: fit for a pickle."""

    finding: Finding
    device: str
    threads: int

    def __call__(self) -> "Detector":
        return self.finding.make(self.device, self.threads)


def is_address(out: str) -> bool:
    """Whether an ``--out`` is an address, and no path of this machine."""
    return "://" in out


def analyze_into_folder(
    what: list[str],
    out: str,
    following: Following,
    archiving: Archiving,
    model: Path | None,
    recognizing: Recognizing,
    json: bool,
) -> NoReturn:
    """Analyze what the arguments name into ``out``, a folder or an address; exits the command."""
    from fer_edge.archive import analyze_archive, list_files

    where = out if is_address(out) else os.path.abspath(Path(out).expanduser())  # noqa: PTH100
    settings, classes = _settings(where, following, archiving.span, model, recognizing)
    listing = list_files(what, None if is_address(out) else Path(where))
    _check_needs(listing, settings)
    executor = _executor(listing, settings, archiving)
    with staged_progress(quiet=json) as tell:
        summary = analyze_archive(
            listing, settings, executor, classes, lambda done: tell("Analyzing", done)
        )
    if json:
        print_json({**settings.facts, **summary.to_dict(), "out": out})
    else:
        _tell(summary, out)
    raise typer.Exit(bool(summary.errors))


def _settings(
    out: str, following: Following, span: float, model: Path | None, recognizing: Recognizing
) -> "tuple[Settings, tuple[str, ...]]":
    """What workers need to know, and the labels of the model.

    What ``auto`` means is settled here, once, and for all runs into the same place: workers that
    time precisions on machines under load could come to different ones.
    """
    from fer_edge.archive import Settings, recorded_facts

    path, threads = model_or_carried(model), recognizing.threads or 1
    before = recorded_facts(out) or {}
    precision, backend = (
        str(before[name]) if value == "auto" and name in before else value
        for name, value in (("precision", recognizing.precision), ("backend", recognizing.backend))
    )
    settled = replace(recognizing, precision=precision, backend=backend, threads=threads)
    with settled.recognizer(path) as recognizer:
        engine = recognizer.describe()
        classes = recognizer.contract.labels
    detect_every = following.detect_every or 1
    facts = {
        "model": model_name(path),
        "model_sha256": _digest(path),
        "precision": engine.precision,
        "backend": engine.backend,
        "fer_edge_version": __version__,
        "detector": following.name,
        "detector_size": following.detector_size,
        "min_score": following.min_score,
        "detect_every": detect_every,
        "smooth_seconds": following.smoothing,
        "span_seconds": span,
        "sure": recognizing.sure,
    }
    settings = Settings(
        out=out,
        detector=DetectorChoice(following, recognizing.device, threads),
        # The carried model is wherever a worker has the package.
        model=None if model is None else os.path.abspath(path),  # noqa: PTH100
        precision=engine.precision,
        backend=engine.backend,
        device=recognizing.device,
        threads=threads,
        detect_every=detect_every,
        smooth_seconds=following.smoothing,
        span_seconds=span,
        sure=recognizing.sure,
        facts=facts,
    )
    return settings, classes


def _digest(path: Path) -> str:
    """Of an ONNX file, or of the manifest, which has the hashes of an artifact's files."""
    if path.suffix == ".onnx":
        return hashlib.sha256(read_graph(path)).hexdigest()
    file = path if path.is_file() else path / "manifest.json"
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _check_needs(listing: "Listing", settings: "Settings") -> None:
    """Raise here, rather than in each worker, where something is not installed."""
    from fer_edge.runtime.av_library import load_av
    from fer_edge.runtime.row_files import load_pyarrow

    load_pyarrow("An archive")
    settings.detector()
    if not all(one.is_photo for one in listing.files):
        load_av("Videos need")


def _executor(listing: "Listing", settings: "Settings", archiving: Archiving) -> "Executor":
    from fer_edge.archive import Processes
    from fer_edge.engines.processor import available_cores

    if archiving.ray is None:
        count = archiving.workers or max(available_cores() // settings.threads, 1)
        return Processes(count)
    if archiving.workers is not None:
        raise UsageError(
            "With --ray the cluster says how many workers there are.", hint="Drop --workers."
        )
    from fer_edge.archive.cluster import Cluster

    shared = [listing.files[0].path] if listing.files[0].size else []
    shared += [] if settings.model is None else [settings.model]
    if not is_address(settings.out):
        Path(settings.out).mkdir(parents=True, exist_ok=True)
        shared.append(settings.out)
    return Cluster(archiving.ray, tuple(shared))


def _tell(summary: "Summary", out: str) -> None:
    tally = summary.tally
    if summary.changed:
        complain(
            f"{len(summary.changed):,} files have been written to since they were analyzed, such "
            f"as {summary.changed[0]}. Their rows are of before: analyze them into a new folder."
        )
    for row in summary.errors[:_MOST_TOLD]:
        complain(row.error if row.file in row.error else f"{row.file}: {row.error}")
    videos = f", {tally.frames:,} frames of video" if tally.pieces else ""
    typer.echo(
        f"{tally.photos:,} photos{videos}, {tally.faces:,} faces, in {summary.seconds_taken:,.1f} s"
        f" by {summary.workers} workers"
        + (f"; {summary.done_before:,} parts were there before" if summary.done_before else "")
    )
    if tally.faces:
        shares = ((name, 100 * n / tally.faces) for name, n in tally.emotions.most_common())
        typer.echo(", ".join(f"{name} {share:.1f} %" for name, share in shares))
    if summary.skipped:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in summary.skipped.items())
        typer.echo(f"No photos or videos, skipped: {kinds}")
    folder = out.partition("?")[0].rstrip("/")
    typer.echo(f"Rows: {folder}/faces")
    typer.echo(f"Not read: {len(summary.errors):,}, in {folder}/errors.parquet")
