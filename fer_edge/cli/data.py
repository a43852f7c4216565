"""fer-edge data"""

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.arguments import (
    Backend,
    Json,
    Labels,
    ModelOption,
    Threads,
    model_name,
    model_or_carried,
)
from fer_edge.cli.console import counted, print_json, staged_progress
from fer_edge.contract import EMOTIONS
from fer_edge.emotions import meaning
from fer_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Group
    from rich.table import Table

    from fer_edge.data import FaceDataset, LegendReport, Split
    from fer_edge.data.analysis import Probabilities
    from fer_edge.data.report import DataReport


def data(
    source: Annotated[Path, typer.Argument(help="FER2013, or data in one of its layouts.")],
    model: ModelOption = None,
    no_model: Annotated[
        bool, typer.Option("--no-model", help="Look for no mislabelled faces.")
    ] = False,
    backend: Backend = "auto",
    threads: Threads = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the report, with every flagged face, as JSON.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Write one HTML page with the faces to look at.")
    ] = None,
    labels: Labels = None,
    json: Json = False,
) -> None:
    """Show what is in a data set, and which of its faces to distrust.

    Finds copies, also across splits, copies whose labels disagree, blank images,
    and faces for which the model is surer of another label (confident learning).

    Example:
    fer-edge data fer2013.zip --out report.json --page report.html
    """
    from fer_edge.data.analysis import analyse
    from fer_edge.data.page import render_page
    from fer_edge.files import write_text

    if no_model and model is not None:
        raise UsageError("--no-model and --model exclude each other.", hint="Choose one.")
    path = None if no_model else model_or_carried(model)
    name = None if path is None else model_name(path)
    with staged_progress(quiet=json) as tell:
        splits, left_out = _load(source, labels, counted(tell, "Reading faces"))
        probabilities = (
            {} if path is None else _classify(path, source, labels, splits, backend, threads, tell)
        )
        report = analyse(
            splits,
            probabilities,
            source=source.name,
            model=name,
            progress=counted(tell, "Looking for copies"),
        )
    if json:
        print_json(report.model_dump(mode="json"))
    else:
        from rich.console import Console

        Console(highlight=False).print(_render(report))
        if left_out is not None:
            typer.echo(f"\n{left_out.tell()}")
    if out is not None:
        report.save(out)
    if page is not None:
        write_text(page, render_page(report, splits))


def _load(
    source: Path, labels: str | None, progress: "Callable[[int, int | None], None]"
) -> "tuple[dict[Split, FaceDataset], LegendReport | None]":
    from fer_edge.data import SPLITS, describe_source, load_dataset
    from fer_edge.errors import DataError

    # What cannot be read fails here; what fails below is a split that the source has not.
    left_out = describe_source(source, labels=labels, progress=progress)
    splits: dict[Split, FaceDataset] = {}
    for split in SPLITS:
        with contextlib.suppress(DataError):
            splits[split] = load_dataset(source, split, labels=labels)
    return splits, left_out


def _classify(
    model: Path,
    source: Path,
    labels: str | None,
    splits: "dict[Split, FaceDataset]",
    backend: str,
    threads: int | None,
    tell: "Callable[[str, float | None], None]",
) -> "dict[Split, Probabilities]":
    """What a model says of the faces, in the order of the seven emotions."""
    from fer_edge.data import load_dataset
    from fer_edge.data.relabel import emotion_shares
    from fer_edge.engines import open_engine
    from fer_edge.evaluation.scoring import classify

    with open_engine(model, backend=backend, threads=threads) as engine:
        contract = engine.describe().contract
        lacking = {*EMOTIONS} - {*map(meaning, contract.labels)}
        if lacking:
            raise UsageError(
                f"{model} has no label for {', '.join(sorted(lacking))}: every face of it would "
                "be doubted.",
                hint="Take a model that knows all seven emotions, or --no-model.",
            )
        found = {}
        for split in splits:
            # Of its size and colour; the labels are those of the report.
            seen = dataclasses.replace(contract, labels=EMOTIONS)
            faces = load_dataset(source, split, labels=labels, contract=seen).faces
            told = counted(tell, f"Classifying {split}")
            found[split] = emotion_shares(classify(engine, faces, progress=told), contract)
        return found


def _render(report: "DataReport") -> "Group":
    from rich.console import Group
    from rich.text import Text

    from fer_edge.data.report import REASONS

    splits = report.splits
    classes = _table("Faces per class", ("", *splits))
    for emotion in EMOTIONS:
        counts = [(split.classes[emotion].faces, split.faces) for split in splits.values()]
        classes.add_row(emotion, *(f"{n:,} ({n / total:.1%})" for n, total in counts))
    classes.add_row("all", *(f"{split.faces:,}" for split in splits.values()))

    light = _table("Gray levels, mean ± std of faces", ("", *splits))
    for name in ("brightness", "contrast"):
        spreads = [getattr(split, name) for split in splits.values()]
        light.add_row(name, *(f"{spread.mean:.1f} ± {spread.std:.1f}" for spread in spreads))

    reasons = _table("Flagged faces", ("", *splits))
    for reason in REASONS:
        if reason != "mislabelled" or report.model is not None:
            reasons.add_row(reason, *(f"{split.flagged[reason]:,}" for split in splits.values()))

    groups = report.duplicates
    lines = [
        f"\n{report.exact_copies:,} exact and {report.near_copies:,} near or mirrored copies in "
        f"{len(groups):,} groups: {sum(group.cross_split for group in groups):,} cross splits, "
        f"in {sum(group.label_conflict for group in groups):,} the labels disagree."
    ]
    if report.model is not None:
        accuracy = ", ".join(
            f"{name} {split.accuracy:.1%}"
            for name, split in splits.items()
            if split.accuracy is not None
        )
        lines.append(
            f"Mislabelled: {report.model} (accuracy: {accuracy}) is surer of another label. Some "
            "are its own errors; where it was trained, it leans towards the labels."
        )
    return Group(Text(report.source, "bold"), classes, light, reasons, *map(Text, lines))


def _table(title: str, columns: tuple[str, ...]) -> "Table":
    from fer_edge.tables import plain_table

    table = plain_table(title)
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    return table
