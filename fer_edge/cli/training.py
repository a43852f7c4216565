"""What fer-edge train tells of a run, and the other way to train: an SVM."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from fer_edge.cli.console import counted, print_json, staged_progress, stderr
from fer_edge.errors import UsageError
from fer_edge.training.declaration import flags
from fer_edge.training.options import TrainOptions

if TYPE_CHECKING:
    from fer_edge.training.config import TrainConfig
    from fer_edge.training.epoch import Epoch


def fit_svm(
    context: typer.Context,
    recipe: Path,
    values: dict[str, Any],
    sources: list[str],
    out: Path | None,
    json: bool,
) -> None:
    """Fit the SVM of a recipe, and report it."""
    from fer_edge.training.svm import train_svm

    for name in given(context):
        if name not in ("recipe", "data", "out", "json"):
            flag = flags(TrainOptions).get(name, f"--{name}")
            raise UsageError(
                f"{flag} is nothing for the SVM of {recipe}.",
                hint="Drop it, or change the recipe.",
            )
    run = out or Path("runs") / recipe.stem
    if len(sources) != 1:
        raise UsageError(
            f"The SVM of {recipe} is fitted on one data set, not on {len(sources)}.",
            hint="Pass one --data; name one at most under sources in [data] of the recipe.",
        )
    source = Path(values.pop("source_run"))
    with staged_progress(quiet=json) as tell:
        load, step = counted(tell, "Reading faces"), counted(tell, "Features and SVM")
        fitted = train_svm(source, sources[0], run, on_load=load, on_step=step, **values)
    report(run, json, fitted.epoch)


def given(context: typer.Context) -> list[str]:
    """Parameters that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]


def say_what_was_left_out(config: "TrainConfig") -> None:
    """Tell what reading the data sets dropped, if anything, while there is time to stop."""
    from fer_edge.data import describe_source

    for source in config.data:
        found = describe_source(
            source, labels=config.labels, shared=len(config.data) > 1, contract=config.contract
        )
        if found is not None:
            stderr().print(f"{Path(source).name}: {found.tell()}", markup=False)


def line(epoch: "Epoch", elapsed: float) -> str:
    """An epoch in a line; ``elapsed`` are seconds since the start."""
    return (
        f"epoch {epoch.epoch:3d}  loss {epoch.train_loss:.3f}/{epoch.val_loss:.3f}  "
        f"accuracy {100 * epoch.train_accuracy:.2f}/{100 * epoch.val_accuracy:.2f} % train/val  "
        f"{epoch.faces_per_second:,.0f} faces/s  {elapsed / 60:.1f} min"
    )


def report(run: Path, json: bool, epoch: int, keep: Literal["best", "last"] = "best") -> None:
    """Tell the epoch of a run that is kept, its number from 1, and what to do next."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from fer_edge.training.epoch import metrics_of

    best = metrics_of(run, epoch)
    if json:
        print_json({"run": str(run), keep: best})
        return
    typer.echo(
        f"{keep.capitalize()} epoch of {run}: {best['epoch']}, "
        f"accuracy {100 * best['val_accuracy']:.2f} %, "
        f"macro-F1 {100 * best['val_macro_f1']:.2f} % on val"
    )
    table = Table("", *map(escape, best["val_recall"]))
    recalls = best["val_recall"].values()
    table.add_row("recall %", *("-" if v is None else f"{100 * v:.1f}" for v in recalls))
    Console().print(table)
    typer.echo(f"Pictures: {run}/curves.png, {run}/confusion_matrix.png")
    quoted = shlex.quote(str(run))
    typer.echo(f"Next: fer-edge export {quoted} --fp16 --int8 --data FER2013")
