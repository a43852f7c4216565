"""fer-edge train"""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fer_edge.cli.arguments import Json, Labels
from fer_edge.cli.console import counted, staged_progress, stderr
from fer_edge.cli.training import fit_svm, given, line, report, say_what_was_left_out
from fer_edge.errors import MissingDependencyError, TrainingError, UsageError

if TYPE_CHECKING:
    from fer_edge.training.epoch import Epoch


_OPTIMISATION = "Optimisation"
_AUGMENTATION = "Augmentation"
_START = "Start and machine"
_FIELDS = {"teacher": "teachers", "data_weight": "data_weights"}
"""Fields of the config that options name in the singular."""


def train(
    context: typer.Context,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="FER2013 as csv, zip or folder; its val split chooses the best epoch. Again for "
            "further data sets to train on."
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="TOML file with values for all options; those given here come first."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A wrong name lists them all.")
    ] = "compact",
    size: Annotated[
        int | None,
        typer.Option(
            help="Side of the faces in pixels, 24 to 260, made from the files' own. (default: the "
            "model's, 48 for those of this package)"
        ),
    ] = None,
    color: Annotated[
        str | None,
        typer.Option(
            help="gray or rgb, for networks that take three channels. (default: the model's, gray)"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. (default: runs/RECIPE or runs/MODEL)")
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
    dropout: Annotated[
        float | None,
        typer.Option(
            help="Rate of the model's dropout layers. (default: the model's own)",
            rich_help_panel=_OPTIMISATION,
        ),
    ] = None,
    drop_path: Annotated[
        float,
        typer.Option(
            help="Stochastic depth: how often the last residual block is skipped.",
            rich_help_panel=_OPTIMISATION,
        ),
    ] = 0.0,
    class_balance: Annotated[
        float,
        typer.Option(
            help="Weigh classes by count ** -this: 0 not at all, 1 all classes alike.",
            rich_help_panel=_OPTIMISATION,
        ),
    ] = 0.0,
    logit_adjustment: Annotated[
        float,
        typer.Option(
            help="Name rare emotions more often: subtract this times the log of each one's share.",
            rich_help_panel=_OPTIMISATION,
        ),
    ] = 0.0,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            help="best.safetensors, artifact, or name of a model to learn from; again for an "
            "ensemble.",
            rich_help_panel=_OPTIMISATION,
        ),
    ] = None,
    distillation: Annotated[
        float,
        typer.Option(help="Share of the teachers in the loss.", rich_help_panel=_OPTIMISATION),
    ] = 0.5,
    distillation_temperature: Annotated[
        float,
        typer.Option(help="Softens what teachers and student say.", rich_help_panel=_OPTIMISATION),
    ] = 2.0,
    soft_labels: Annotated[
        bool,
        typer.Option(
            "--soft-labels",
            help="Ask the teachers once about every face and its mirror image, and keep what they "
            "say, rather than about each batch as the student sees it: epochs cost no teacher.",
            rich_help_panel=_OPTIMISATION,
        ),
    ] = False,
    data_weight: Annotated[
        list[float] | None,
        typer.Option(
            help="Weight of the faces of each --data in the loss. (default: 1 each)",
            rich_help_panel=_OPTIMISATION,
        ),
    ] = None,
    labels: Labels = None,
    exclude: Annotated[
        Path | None,
        typer.Option(
            help="Report of fer-edge data: leave out the training faces that it flags.",
            rich_help_panel=_OPTIMISATION,
        ),
    ] = None,
    exclude_weight: Annotated[
        float,
        typer.Option(
            help="Weigh the flagged faces rather than leave them out.",
            rich_help_panel=_OPTIMISATION,
        ),
    ] = 0.0,
    initial_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the faces in the first epochs, growing to the full size: faster. "
            "(default: the full size)",
            rich_help_panel=_AUGMENTATION,
        ),
    ] = None,
    mixup: Annotated[
        float, typer.Option(help="Alpha; 0 for none.", rich_help_panel=_AUGMENTATION)
    ] = 0.0,
    cutmix: Annotated[
        float, typer.Option(help="Alpha; 0 for none.", rich_help_panel=_AUGMENTATION)
    ] = 0.0,
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
    degradation: Annotated[
        float,
        typer.Option(
            help="Probability of a face as cameras give it: small, blurred, dark or bright, noisy "
            "or compressed.",
            rich_help_panel=_AUGMENTATION,
        ),
    ] = 0.0,
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
            help="Start from ImageNet weights: of efficientnet-lite0 those that the extra "
            "pretrained installs; of others torchvision's, downloaded.",
            rich_help_panel=_START,
        ),
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Start from this .safetensors or torch state dict.", rich_help_panel=_START
        ),
    ] = None,
    grow_from: Annotated[
        Path | None,
        typer.Option(
            help="Start a resnet50 as this compact (best.safetensors or artifact).",
            rich_help_panel=_START,
        ),
    ] = None,
    int8_weights: Annotated[
        bool,
        typer.Option(
            "--int8-weights",
            help="Train with weights rounded to INT8, for an export that loses less.",
        ),
    ] = False,
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
        from fer_edge.training.recipe import find_sources, read_recipe
        from fer_edge.training.run import resume as go_on
        from fer_edge.training.run import start
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Training needs {error.name}, which is not installed.",
            hint="Install it with: pip install 'fer-edge[train]'",
        ) from error
    from fer_edge.models import model_spec
    from fer_edge.models.published import find_model

    if resume is not None:
        _refuse_others(context)
        run, config = resume, None
    else:
        values: dict[str, Any] = {
            "model": model,
            "size": size,
            "color": color,
            "data": [str(path) for path in data or []],
            "data_weights": data_weight or [],
            "labels": labels,
            "exclude": _text(exclude),
            "exclude_weight": exclude_weight,
            "epochs": epochs,
            "batch": batch,
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "schedule": schedule,
            "label_smoothing": label_smoothing,
            "ema": ema,
            "dropout": dropout,
            "drop_path": drop_path,
            "class_balance": class_balance,
            "logit_adjustment": logit_adjustment,
            "teachers": [str(find_model(path).resolve()) for path in teacher or []],
            "distillation": distillation,
            "distillation_temperature": distillation_temperature,
            "soft_labels": soft_labels,
            "initial_size": initial_size,
            "mixup": mixup,
            "cutmix": cutmix,
            "augment": augment,
            "flip": flip,
            "rotation": rotation,
            "shift": shift,
            "scale": scale,
            "brightness": brightness,
            "erasing": erasing,
            "degradation": degradation,
            "precision": precision,
            "seed": seed,
            "pretrained": pretrained,
            "weights": _text(weights),
            "grow_from": _text(grow_from),
            "int8_weights": int8_weights,
            "fer_plus": _text(fer_plus),
            "compile": compile,
            "device": device,
        }
        told_here = {_FIELDS.get(name, name) for name in given(context)}
        if recipe is not None:
            told = read_recipe(recipe)
            if "data" in told.values:
                values["data"] = find_sources(told.values.pop("data"), data or [])
            if told.svm:
                fit_svm(context, recipe, told.values, values["data"], out, json)
                return
            values |= {k: v for k, v in told.values.items() if k not in told_here}
        if not values["data"]:
            raise UsageError("Training needs faces.", hint="Pass --data fer2013.zip")
        values["data"] = [str(Path(path).resolve()) for path in values["data"]]
        try:
            config = TrainConfig.checked(**values)
            model_spec(config.model)
        except UsageError as error:
            option = error.message.partition(" ")[0].removeprefix("--").replace("-", "_")
            if recipe is None or option in told_here:
                raise
            raise UsageError(f"{recipe}: {error.message}", hint=error.hint) from error
        run = out or Path("runs") / (recipe.stem if recipe else config.model)
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
                go_on(run, on_load=load, on_ask=asking, on_step=step, on_epoch=on_epoch)
            else:
                start(
                    config,
                    run,
                    on_load=load,
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
    if not json and config is not None:
        for source in config.data:
            say_what_was_left_out(source, config.labels, config.contract)
    report(run, json)


def _refuse_others(context: typer.Context) -> None:
    """Raise UsageError if more than --resume and --json was given: a run keeps its config."""
    for name in given(context):
        if name not in ("resume", "json"):
            raise UsageError(
                f"--resume takes everything from the run, --{name.replace('_', '-')} included.",
                hint="Drop it, or train into a new folder.",
            )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())
