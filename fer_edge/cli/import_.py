"""fer-edge import"""

import shlex
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from fer_edge.cli.arguments import Json
from fer_edge.cli.console import counted, print_json, staged_progress
from fer_edge.cli.doubts import wrong_order
from fer_edge.errors import MissingDependencyError, UsageError

_NETWORK = "What it wants"


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="ONNX file of any network from a face to classes; or its weights (.pth, "
            ".safetensors), with --model.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            help="What its outputs are, in its order: neutral,happy,surprise and so on.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            help="Subtracted from pixel / scale: one number, or one per channel in the "
            "network's order.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            help="Divides what is left: one or one per channel.", rich_help_panel=_NETWORK
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            help="Divides the pixels first: 255 for a network of numbers from 0 to 1, 1 for one of "
            "0 to 255.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    color: Annotated[
        str | None,
        typer.Option(
            help="rgb, bgr, or gray: a network of three channels that was trained on gray faces. "
            "(default: gray of one channel, rgb of three)",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="Side of the faces, 24 to 260. Another than the network's is resized inside. "
            "(default: the network's)",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    input_name: Annotated[
        str | None,
        typer.Option("--input", help="Which input, if several fit.", rich_help_panel=_NETWORK),
    ] = None,
    output_name: Annotated[
        str | None,
        typer.Option("--output", help="Which output, if several fit.", rich_help_panel=_NETWORK),
    ] = None,
    logits: Annotated[
        bool | None,
        typer.Option(
            "--logits/--probabilities",
            help="What it gives. (default: found by running it)",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Network that weights are of: a name that train takes."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="FER2013, or data in one of its layouts: score it at once, which shows labels in "
            "the wrong order and values in the wrong scale."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Artifact folder to write. (default: build/NAME)")
    ] = None,
    json: Json = False,
) -> None:
    """Make an artifact of somebody's network: ONNX, or weights of a network known by name.

    The artifact takes raw uint8 faces and gives probabilities: what the network wants done
    to pixels (size, colour, mean and std) is written into its graph, once. It is run beside
    the file that it came from before anything is written. What the file does not say has to
    be said, and the error tells how.

    Examples:
    fer-edge import net.onnx --scale 255 --labels angry,disgust,fear,happy,sad,surprise,neutral
    fer-edge import best.onnx --scale 255 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
    fer-edge import fer.pth --model resnet50-linear --data fer2013.zip --out build/theirs
    Then: fer-edge export build/theirs --int8 --data fer2013.zip
    """
    try:
        from fer_edge.data import load_dataset
        from fer_edge.export.importing import ImportOptions, import_network
        from fer_edge.export.importing.original import NetworkColor
        from fer_edge.export.pipeline import check_out, export_model
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Importing needs {error.name}, which is not installed.",
            hint="Install it with: pip install 'fer-edge[export]'",
        ) from error
    if color is not None and color not in get_args(NetworkColor):
        raise UsageError(f"--color {color}: choose from {', '.join(get_args(NetworkColor))}.")
    options = ImportOptions(
        labels=None if labels is None else [part.strip() for part in labels.split(",")],
        mean=_numbers("--mean", mean),
        std=_numbers("--std", std),
        scale=scale,
        color=cast("NetworkColor | None", color),
        size=size,
        input=input_name,
        output=output_name,
        outputs=None if logits is None else ("logits" if logits else "probabilities"),
    )
    target = out or Path("build") / file.name.split(".")[0]
    check_out(file, target)
    with staged_progress(quiet=json) as tell:
        tell("Reading the network", 0)
        imported = import_network(file, options, model=model)
        tell("Reading the network", 1)
        faces = (
            None
            if data is None
            else load_dataset(
                data,
                "val",
                contract=imported.source.contract,
                progress=counted(tell, "Reading faces"),
            )
        )
        artifact = export_model(imported.source, target, data=faces, progress=tell)
    if json:
        print_json(
            {
                "artifact": str(target),
                "seen": imported.seen,
                **artifact.manifest.model_dump(mode="json"),
            }
        )
        return
    for line in imported.seen:
        typer.echo(line)
    typer.echo(f"labels: {', '.join(artifact.manifest.labels)}")
    score = artifact.manifest.scores.get("fp32")
    if score is not None:
        typer.echo(f"{100 * score.accuracy:.2f} % of {score.n} faces of {score.split} are right")
        for line in wrong_order(score):
            typer.echo(line)
    typer.echo(f"{artifact.manifest.model} is in {target}")
    typer.echo(f"Next: fer-edge export {shlex.quote(str(target))} --int8 --data FER2013 --out OUT")


def _numbers(option: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"{option} {text}: not numbers.", hint=f"Separate them by commas: {option} 0.5,0.5,0.5"
        ) from None
