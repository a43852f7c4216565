"""fer-edge evaluate"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.arguments import Json, Labels, Processor, model_name, model_or_carried
from fer_edge.cli.console import counted, print_json, staged_progress
from fer_edge.cli.doubts import wrong_order
from fer_edge.cli.groups import grouped
from fer_edge.contract import PRECISIONS
from fer_edge.errors import UsageError
from fer_edge.tables import faces_of, without_label

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

    from fer_edge.artifact import FaultScore
    from fer_edge.evaluation import Evaluation
    from fer_edge.evaluation.groups import Audit


@grouped
def evaluate(
    *,
    data: Annotated[Path, typer.Option(help="FER2013, or data in one of its layouts.")],
    model: Annotated[
        Path | None,
        typer.Argument(help="Artifact folder, its name, or ONNX file. (default: compact)"),
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    held_out: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="With --split train: only the faces of a second data set that no training with "
            "this --hold-out sees.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, fp16, int8 or fp8. (default: the widest there is, of an ONNX file its own)"
        ),
    ] = None,
    processor: Processor,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for confusion_matrix.png, reliability.png, worst.png, predictions.csv "
            "and evaluation.json."
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="A csv with a line for each face: its name as in predictions.csv, and columns "
            "such as age or light. Scores each group."
        ),
    ] = None,
    min_group: Annotated[
        int, typer.Option(min=2, help="Faces below which a group is counted and not scored.")
    ] = 50,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness",
            help="Score blurred, dark, small, rotated, noisy and compressed faces, too, at three "
            "levels each.",
        ),
    ] = False,
    labels: Labels = None,
    json: Json = False,
) -> None:
    """Show what a model gets wrong: per emotion, and how far its probabilities go.

    ECE is the expected calibration error: how far confidence is from accuracy, on
    average. worst.png has the faces that the model gets most wrong. Faces that it has
    no label for are left out and counted; a label that the data do not know is wrong.
    With --groups, intervals are of 95 %, and the largest gap of each column is told.

    Examples:
    fer-edge evaluate build/r50 --data fer2013.zip --out build/r50-errors
    fer-edge evaluate build/r50 --data fer2013.zip --robustness
    fer-edge evaluate build/r50 --data faces/ --groups people.csv --out build/r50-audit
    """
    from fer_edge.data import hold_out, load_dataset
    from fer_edge.engines import open_engine
    from fer_edge.evaluation import evaluate
    from fer_edge.evaluation.groups import audit, read_groups
    from fer_edge.evaluation.plots import check_matplotlib
    from fer_edge.evaluation.report import write_report
    from fer_edge.evaluation.robustness import robustness as score_faults

    if precision not in (None, *PRECISIONS):
        raise UsageError(f"--precision {precision}: choose from {', '.join(PRECISIONS)}.")
    if held_out is not None and not 0 < held_out < 1:
        raise UsageError(f"--held-out {held_out:g}: above 0 and below 1.")
    if out is not None:
        check_matplotlib()
    path = model_or_carried(model)
    name = model_name(path)
    wanted = precision or _most_exact(path)
    with (
        open_engine(path, precision=wanted, **vars(processor)) as engine,
        staged_progress(quiet=json) as tell,
    ):
        faces = load_dataset(
            data,
            split,  # type: ignore[arg-type]
            labels=labels,
            contract=engine.describe().contract,
            progress=counted(tell, "Reading faces"),
        )
        if held_out is not None:
            faces = hold_out(faces, held_out)[1]
        # Before what takes long.
        members = None if groups is None else read_groups(groups, faces)
        evaluation, probabilities = evaluate(
            engine, faces, name, progress=counted(tell, "Classifying")
        )
        if members is not None:
            evaluation.audit = audit(members, faces, probabilities, smallest=min_group)
        if robustness:
            evaluation.score.faults = score_faults(
                engine, faces, progress=counted(tell, "Spoilt faces")
            )
    if json:
        print_json(evaluation.model_dump(mode="json"))
    else:
        from rich.console import Console

        Console(highlight=False).print(_render(evaluation))
    if out is not None:
        written = write_report(out, evaluation, faces, probabilities)
        if not json:
            typer.echo(f"In {out}: {', '.join(path.name for path in written)}")


def _most_exact(path: Path) -> str:
    """What is evaluated by default: FP32, or the widest that an artifact without it has."""
    from fer_edge.artifact import Artifact

    if path.suffix == ".onnx":
        return "auto"
    graphs = Artifact.load(path).manifest.graphs
    return next((name for name in PRECISIONS if name in graphs), "fp32")


def _render(evaluation: "Evaluation") -> "Group":
    from rich import box
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    from fer_edge.evaluation.card import sure_text

    score = evaluation.score
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("accuracy", f"{100 * score.accuracy:.2f} ± {100 * score.standard_error:.2f} %"),
        ("macro-F1", f"{100 * score.macro_f1:.2f} %"),
        (
            "ECE",
            f"{_percent(score.ece, 2)} % (a temperature of {evaluation.temperature:.3f} would fit "
            "best)",
        ),
        *(("sure" if not i else "", sure_text(point)) for i, point in enumerate(score.sure)),
    ):
        facts.add_row(name, value)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="", pad_edge=False)
    for column in ("", "faces", "precision %", "recall %", "F1 %"):
        table.add_column(column, justify="right" if column else "left")
    table.add_column("taken for (% of its faces)")
    for emotion in evaluation.support:
        table.add_row(
            # Labels are the model's own: text, not markup.
            escape(emotion),
            str(evaluation.support[emotion]),
            *(
                _percent((shares or {}).get(emotion), 1)
                for shares in (score.precision, score.recall, score.f1)
            ),
            ", ".join(
                f"{escape(other)} {100 * share:.0f}"
                for other, share in evaluation.taken_for[emotion].items()
            ),
        )
    remarks: list[RenderableType] = [Text(f"\n{line}") for line in _remarks(evaluation)]
    if evaluation.audit is not None:
        remarks += [Text(""), _groups(evaluation.audit)]
        remarks += [Text(line) for line in _gaps(evaluation.audit)]
    if score.faults:
        remarks += [Text(""), _faults(score.faults)]
    heading = f"{evaluation.model} {evaluation.precision} on {score.split}, {score.n} faces"
    return Group(Text(heading, "bold"), "", facts, "", table, *remarks)


def _groups(audit: "Audit") -> "Table":
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="", pad_edge=False)
    for column in ("", "group", "faces", "accuracy %", "95 %", "ECE %"):
        table.add_column(column, justify="left" if column in ("", "group") else "right")
    table.add_column("recall %")
    before = None
    for group in audit.groups:
        recalls = ", ".join(
            f"{escape(emotion)} {100 * recall:.0f}" for emotion, recall in group.recall.items()
        )
        table.add_row(
            *(escape("" if group.column == before else group.column), escape(group.group)),
            f"{group.n:,}",
            _percent(group.accuracy, 1),
            "too few"
            if group.interval is None
            else " to ".join(f"{100 * end:.1f}" for end in group.interval),
            _percent(group.ece, 1),
            recalls,
        )
        before = group.column
    return table


def _faults(faults: "list[FaultScore]") -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, header_style="", pad_edge=False)
    table.add_column("accuracy % on faces that are")
    for _ in range(3):
        table.add_column(justify="right")
    names = dict.fromkeys((one.fault, one.unit) for one in faults)
    for fault, unit in names:
        own = [one for one in faults if one.fault == fault]
        cells = [f"{100 * one.accuracy:.1f} at {one.level:g}" for one in own]
        table.add_row(f"{fault} ({unit})", *cells)
    return table


def _gaps(audit: "Audit") -> list[str]:
    lines = [
        f"{gap.column}: {gap.best} is {100 * gap.difference:.1f} points above {gap.worst} "
        f"({100 * gap.interval[0]:.1f} to {100 * gap.interval[1]:.1f}), "
        + ("more than chance." if gap.real else "which may be chance.")
        for gap in audit.gaps
    ]
    if audit.unnamed:
        lines.append(f"{audit.unnamed:,} faces are in no group.")
    return lines


def _remarks(evaluation: "Evaluation") -> list[str]:
    """Labels in the wrong order, what was not scored, and what no face could be right for."""
    score = evaluation.score
    remarks = list(wrong_order(score))
    if score.left_out:
        remarks.append(without_label(score.left_out))
    said = [sum(column) for column in zip(*evaluation.confusion, strict=True)]
    foreign = {
        label: count
        for (label, faces), count in zip(evaluation.support.items(), said, strict=True)
        if not faces and count and label not in (score.f1 or {})
    }
    if foreign:
        remarks.append(f"Wrong, as the data have no such faces: {faces_of(foreign)}.")
    return remarks


def _percent(share: float | None, digits: int) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f}"
