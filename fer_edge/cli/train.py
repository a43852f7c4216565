"""fer-edge train"""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.arguments import Json
from fer_edge.cli.console import counted, print_json, staged_progress, stderr
from fer_edge.errors import MissingDependencyError, TrainingError, UsageError

if TYPE_CHECKING:
    from fer_edge.training.trainer import Epoch


_OPTIMISATION = "Optimisation"
_AUGMENTATION = "Augmentation"
_START = "Start and machine"


def train(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(help="FER2013 as csv, zip or folder; its val split chooses the best epoch."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="compact, resnet50, resnet50-fc or vgg19.")
    ] = "compact",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. (default: runs/MODEL)")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this run, after its last finished epoch.")
    ] = None,
    epochs: Annotated[
        int, typer.Option(help="Passes over the training split.", rich_help_panel=_OPTIMISATION)
    ] = 30,
    batch: Annotated[
        int, typer.Option(help="Faces per step.", rich_help_panel=_OPTIMISATION)
    ] = 128,
    lr: Annotated[
        float, typer.Option(help="Highest learning rate.", rich_help_panel=_OPTIMISATION)
    ] = 0.1,
    momentum: Annotated[
        float, typer.Option(help="Nesterov momentum.", rich_help_panel=_OPTIMISATION)
    ] = 0.9,
    weight_decay: Annotated[
        float,
        typer.Option(help="On weights, not on biases or norms.", rich_help_panel=_OPTIMISATION),
    ] = 5e-4,
    schedule: Annotated[
        str, typer.Option(help="one-cycle or cosine.", rich_help_panel=_OPTIMISATION)
    ] = "one-cycle",
    label_smoothing: Annotated[
        float, typer.Option(help="0 turns it off.", rich_help_panel=_OPTIMISATION)
    ] = 0.1,
    ema: Annotated[
        float,
        typer.Option(
            help="Decay of the averaged weights; 0 for none.", rich_help_panel=_OPTIMISATION
        ),
    ] = 0.999,
    class_weights: Annotated[
        str, typer.Option(help="none, sqrt or balanced.", rich_help_panel=_OPTIMISATION)
    ] = "none",
    augment: Annotated[
        bool,
        typer.Option(
            help="Flip, rotate, shift, scale, light, erase.", rich_help_panel=_AUGMENTATION
        ),
    ] = True,
    flip: Annotated[
        float, typer.Option(help="Probability of a mirrored face.", rich_help_panel=_AUGMENTATION)
    ] = 0.5,
    rotation: Annotated[
        float, typer.Option(help="Degrees either way.", rich_help_panel=_AUGMENTATION)
    ] = 10.0,
    shift: Annotated[
        float, typer.Option(help="Share of the side, either way.", rich_help_panel=_AUGMENTATION)
    ] = 0.1,
    scale: Annotated[
        float, typer.Option(help="Share, either way.", rich_help_panel=_AUGMENTATION)
    ] = 0.1,
    brightness: Annotated[
        float,
        typer.Option(help="Of light and contrast, either way.", rich_help_panel=_AUGMENTATION),
    ] = 0.2,
    erasing: Annotated[
        float,
        typer.Option(help="Probability of an erased rectangle.", rich_help_panel=_AUGMENTATION),
    ] = 0.25,
    precision: Annotated[
        str,
        typer.Option(
            help="auto, fp32, bf16 or fp16; auto mixes on a GPU, not on a CPU.",
            rich_help_panel=_START,
        ),
    ] = "auto",
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained",
            help="Start from ImageNet weights (downloads them).",
            rich_help_panel=_START,
        ),
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Start from this .safetensors or torch state dict.", rich_help_panel=_START
        ),
    ] = None,
    fer_plus: Annotated[
        Path | None, typer.Option(help="fer2013new.csv: train on its votes as soft labels.")
    ] = None,
    compile: Annotated[  # noqa: A002
        bool,
        typer.Option(
            "--compile", help="torch.compile: slower start, faster epochs.", rich_help_panel=_START
        ),
    ] = False,
    device: Annotated[
        str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=_START)
    ] = "auto",
    seed: Annotated[
        int, typer.Option(help="Decides weights, order and augmentation.", rich_help_panel=_START)
    ] = 0,
    json: Json = False,
) -> None:
    """Train a model on FER2013.

    Writes weights (best and last epoch), metrics.jsonl, curves.png and
    confusion_matrix.png. Ctrl-C is safe: --resume goes on after the last finished
    epoch and ends with the same weights.

    Examples:
    fer-edge train --data fer2013.zip --model resnet50 --out runs/r50
    fer-edge train --resume runs/r50
    """
    try:
        from fer_edge.training.config import CONFIG, TrainConfig
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
    elif data is None:
        raise UsageError("Training needs faces.", hint="Pass --data fer2013.zip")
    else:
        model_spec(model)
        run = out or Path("runs") / model
        config = TrainConfig.checked(
            model=model,
            data=str(data.resolve()),
            epochs=epochs,
            batch=batch,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            schedule=schedule,
            label_smoothing=label_smoothing,
            ema=ema,
            class_weights=class_weights,
            augment=augment,
            flip=flip,
            rotation=rotation,
            shift=shift,
            scale=scale,
            brightness=brightness,
            erasing=erasing,
            precision=precision,
            seed=seed,
            pretrained=pretrained,
            weights=str(weights.resolve()) if weights else None,
            fer_plus=str(fer_plus.resolve()) if fer_plus else None,
            compile=compile,
            device=device,
        )
    with staged_progress(quiet=json) as tell:
        started = time.monotonic()

        def on_epoch(epoch: "Epoch") -> None:
            if not json:
                stderr().print(_line(epoch, time.monotonic() - started))

        load, step = counted(tell, "Reading faces"), counted(tell, "Training")
        try:
            if config is None:
                go_on(run, on_load=load, on_step=step, on_epoch=on_epoch)
            else:
                start(config, run, on_load=load, on_step=step, on_epoch=on_epoch)
        except KeyboardInterrupt:
            if not (run / CONFIG).is_file():
                raise
            raise TrainingError(
                "Interrupted; finished epochs are kept.",
                hint=f"Go on with: fer-edge train --resume {shlex.quote(str(run))}",
            ) from None
    _report(run, json)


def _refuse_others(context: typer.Context) -> None:
    """Raise UsageError if more than --resume and --json was given: a run keeps its config."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and name not in ("resume", "json"):
            raise UsageError(
                f"--resume takes everything from the run, --{name.replace('_', '-')} included.",
                hint="Drop it, or train into a new folder.",
            )


def _line(epoch: "Epoch", elapsed: float) -> str:
    return (
        f"epoch {epoch.epoch:3d}  loss {epoch.train_loss:.3f}/{epoch.val_loss:.3f}  "
        f"accuracy {100 * epoch.train_accuracy:.2f}/{100 * epoch.val_accuracy:.2f} % train/val  "
        f"{epoch.faces_per_second:,.0f} faces/s  {elapsed / 60:.1f} min"
    )


def _report(run: Path, json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from fer_edge.training.trainer import best_epoch

    best = best_epoch(run)
    if json:
        print_json({"run": str(run), "best": best})
        return
    typer.echo(
        f"Best epoch of {run}: {best['epoch']}, accuracy {100 * best['val_accuracy']:.2f} %, "
        f"macro-F1 {100 * best['val_macro_f1']:.2f} % on val"
    )
    table = Table("", *best["val_recall"])
    recalls = best["val_recall"].values()
    table.add_row("recall %", *("-" if v is None else f"{100 * v:.1f}" for v in recalls))
    Console().print(table)
    typer.echo(f"Pictures: {run}/curves.png, {run}/confusion_matrix.png")
    quoted = shlex.quote(str(run))
    typer.echo(f"Next: fer-edge export {quoted} --fp16 --int8 --data FER2013")
