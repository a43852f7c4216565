"""fer-edge train"""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fer_edge.cli.arguments import Json
from fer_edge.cli.console import counted, staged_progress, stderr
from fer_edge.cli.groups import declared_options, grouped
from fer_edge.cli.training import fit_svm, given, line, report, say_what_was_left_out
from fer_edge.errors import MissingDependencyError, TrainingError, UsageError
from fer_edge.training.declaration import flags
from fer_edge.training.options import TrainOptions

if TYPE_CHECKING:
    from fer_edge.training.epoch import Epoch


@grouped
def train(
    context: typer.Context,
    options: Annotated[dict[str, Any], declared_options(TrainOptions)],
    recipe: Annotated[
        Path | None,
        typer.Option(help="TOML file with values for all options; those given here come first."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. (default: runs/RECIPE or runs/MODEL)")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with this run, after its last finished epoch; --data where its data moved."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Train a model on FER2013.

    A recipe (export/*.toml) holds every value of a published model. Writes weights
    (best and last epoch), metrics.jsonl, curves.png and confusion_matrix.png. Ctrl-C
    is safe: --resume goes on after the last finished epoch and ends with the same
    weights.

    Examples:
    fer-edge train --data fer2013.zip --model resnet50 --out runs/r50
    fer-edge train --data fer2013.zip --model resnet50 --size 96
    fer-edge train --recipe export/compact.toml --data fer2013.zip
    torchrun --nproc-per-node 4 -m fer_edge train --data fer2013.zip
    fer-edge train --resume runs/r50
    """
    try:
        from fer_edge.training.config import CONFIG, TrainConfig
        from fer_edge.training.distributed import Workers
        from fer_edge.training.memory import keep_memory
        from fer_edge.training.recipe import find_sources, read_recipe
        from fer_edge.training.run import resume as go_on
        from fer_edge.training.run import start
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Training needs {error.name}, which is not installed.",
            hint="Install it with: pip install 'fer-edge[train]'",
        ) from error
    from fer_edge.models import model_spec

    if resume is not None:
        _refuse_others(context)
        run, config = resume, None
        moved = [str(Path(path).resolve()) for path in options["data"]]
    else:
        values = dict(options)
        given_here = given(context)
        from_recipe: set[str] = set()
        if recipe is not None:
            told = read_recipe(recipe)
            if "data" in told.values:
                sources = [Path(path) for path in values["data"]]
                values["data"] = find_sources(told.values.pop("data"), sources)
            if told.svm:
                fit_svm(context, recipe, told.values, values["data"], out, json)
                return
            from_recipe = set(told.values) - set(given_here)
            values |= {name: told.values[name] for name in from_recipe}
        if not values["data"]:
            raise UsageError("Training needs faces.", hint="Pass --data fer2013.zip")
        values["data"] = [str(Path(path).resolve()) for path in values["data"]]
        config = TrainConfig.checked(**values)
        try:
            model_spec(config.model)
        except UsageError as error:
            if "model" not in from_recipe:
                raise
            raise UsageError(f"{recipe}: {error.message}", hint=error.hint) from error
        run = out or Path("runs") / (recipe.stem if recipe else config.model)
    keep_memory()
    leads = Workers.from_environment().leads
    with staged_progress(quiet=json or not leads) as tell:
        started = time.monotonic()

        def on_epoch(epoch: "Epoch") -> None:
            if not json:
                stderr().print(line(epoch, time.monotonic() - started))

        load, step = counted(tell, "Reading faces"), counted(tell, "Training")
        growing, asking = counted(tell, "Growing"), counted(tell, "Asking the teachers")
        try:
            if config is None:
                progress = go_on(
                    run, moved, on_load=load, on_ask=asking, on_step=step, on_epoch=on_epoch
                )
            else:
                progress = start(
                    config,
                    run,
                    on_load=load,
                    on_read=lambda: None if json or not leads else say_what_was_left_out(config),
                    on_grow=growing,
                    on_ask=asking,
                    on_step=step,
                    on_epoch=on_epoch,
                )
        except KeyboardInterrupt:
            if not (run / CONFIG).is_file():
                raise
            raise TrainingError(
                "Interrupted; finished epochs are kept.",
                hint=f"Go on with: fer-edge train --resume {shlex.quote(str(run))}",
            ) from None
    if not leads:
        return
    report(run, json, progress.best_epoch, TrainConfig.load(run).keep)


def _refuse_others(context: typer.Context) -> None:
    """Raise UsageError if --resume came with what changes a training: a run keeps its config."""
    for name in given(context):
        if name not in ("resume", "json", "data"):
            flag = flags(TrainOptions).get(name, f"--{name}")
            raise UsageError(
                f"--resume takes everything from the run, {flag} included.",
                hint="Drop it, or train into a new folder.",
            )
