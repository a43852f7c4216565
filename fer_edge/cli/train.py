"""fer-edge train"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fer_edge.cli.arguments import Json
from fer_edge.cli.console import counted, errors, print_json, staged_progress
from fer_edge.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from fer_edge.training.trainer import Epoch


def train(
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
    epochs: Annotated[int, typer.Option(help="Passes over the training split.")] = 30,
    batch: Annotated[int, typer.Option(help="Faces per step.")] = 128,
    lr: Annotated[float, typer.Option(help="Highest learning rate.")] = 0.1,
    momentum: Annotated[float, typer.Option(help="Nesterov momentum.")] = 0.9,
    weight_decay: Annotated[float, typer.Option(help="On weights, not on biases or norms.")] = 5e-4,
    schedule: Annotated[str, typer.Option(help="one-cycle or cosine.")] = "one-cycle",
    label_smoothing: Annotated[float, typer.Option(help="0 turns it off.")] = 0.1,
    ema: Annotated[float, typer.Option(help="Decay of the averaged weights; 0 for none.")] = 0.999,
    class_weights: Annotated[str, typer.Option(help="none, sqrt or balanced.")] = "none",
    augment: Annotated[bool, typer.Option(help="Flip, rotate, shift, scale, light, erase.")] = True,
    flip: Annotated[float, typer.Option(help="Probability of a mirrored face.")] = 0.5,
    rotation: Annotated[float, typer.Option(help="Degrees either way.")] = 10.0,
    shift: Annotated[float, typer.Option(help="Share of the side, either way.")] = 0.1,
    scale: Annotated[float, typer.Option(help="Share, either way.")] = 0.1,
    brightness: Annotated[float, typer.Option(help="Of light and contrast, either way.")] = 0.2,
    erasing: Annotated[float, typer.Option(help="Probability of an erased rectangle.")] = 0.25,
    precision: Annotated[
        str, typer.Option(help="auto, fp32, bf16 or fp16; auto mixes on a GPU, not on a CPU.")
    ] = "auto",
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Start from ImageNet weights (downloads them).")
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(help="Start from this .safetensors or torch state dict.")
    ] = None,
    fer_plus: Annotated[
        Path | None, typer.Option(help="fer2013new.csv: train on its votes as soft labels.")
    ] = None,
    compile: Annotated[  # noqa: A002
        bool, typer.Option("--compile", help="torch.compile: slower start, faster epochs.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(help="Decides weights, order and augmentation.")] = 0,
    json: Json = False,
) -> None:
    """Train a model on FER2013.

    Writes weights (best and last epoch), metrics.jsonl, curves.png and confusion_matrix.png.
    Ctrl-C is safe: --resume goes on after the last finished epoch and ends with the same weights.

    Example: fer-edge train --data fer2013.zip --model resnet50 --out runs/r50
    """
    try:
        from fer_edge.training.config import TrainConfig
        from fer_edge.training.run import resume as go_on
        from fer_edge.training.run import start
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Training needs {error.name}, which is not installed.",
            hint="Install it with: pip install 'fer-edge[train]'",
        ) from error

    with staged_progress(quiet=json) as tell:
        started = time.monotonic()

        def on_epoch(epoch: "Epoch") -> None:
            if not json:
                errors.print(_line(epoch, time.monotonic() - started))

        load, step = counted(tell, "Reading faces"), counted(tell, "Training")
        if resume is not None:
            if data is not None or out is not None:
                raise UsageError(
                    "--resume takes data and folder from the run.", hint="Drop --data and --out."
                )
            run = resume
            go_on(run, on_load=load, on_step=step, on_epoch=on_epoch)
        else:
            if data is None:
                raise UsageError("Training needs faces.", hint="Pass --data fer2013.zip")
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
            start(config, run, on_load=load, on_step=step, on_epoch=on_epoch)
    _report(run, json)


def _line(epoch: "Epoch", elapsed: float) -> str:
    return (
        f"epoch {epoch.epoch:3d}  loss {epoch.train_loss:.3f}/{epoch.val_loss:.3f}  "
        f"accuracy {100 * epoch.train_accuracy:.2f}/{100 * epoch.val_accuracy:.2f} % train/val  "
        f"{epoch.faces_per_second:,.0f} faces/s  {elapsed / 60:.1f} min"
    )


def _report(run: Path, json: bool) -> None:
    from fer_edge.training.trainer import best_epoch

    best = best_epoch(run)
    if json:
        print_json({"run": str(run), "best": best})
        return
    table = Table(title=f"Best epoch of {run}: {best['epoch']}", title_justify="left")
    table.add_column("val accuracy %")
    table.add_column("macro-F1 %")
    for emotion in best["val_recall"]:
        table.add_column(f"{emotion} recall %")
    table.add_row(
        f"{100 * best['val_accuracy']:.2f}",
        f"{100 * best['val_macro_f1']:.2f}",
        *("-" if v is None else f"{100 * v:.1f}" for v in best["val_recall"].values()),
    )
    from rich.console import Console

    console = Console()
    console.print(table)
    console.print(f"Pictures: {run}/curves.png, {run}/confusion_matrix.png")
    console.print(
        f"Next: fer-edge export {run} --fp16 --int8 --data FER2013 --out build/{run.name}"
    )
