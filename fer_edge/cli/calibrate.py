"""fer-edge calibrate"""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.arguments import CALIBRATION_METHODS, Json, Labels, model_or_carried
from fer_edge.cli.console import counted, print_json, staged_progress
from fer_edge.errors import MissingDependencyError, UsageError


def calibrate(
    source: Annotated[
        Path | None,
        typer.Argument(
            help="Training run, artifact, its name, or fp32 ONNX file. (default: compact)"
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="FER2013; its val split calibrates.")] = None,
    histograms: Annotated[
        Path | None,
        typer.Option(help="What an earlier calibration saw (.npz), instead of model and data."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help=f"{CALIBRATION_METHODS}, one of another package, or auto: whichever stays "
            "nearest to FP32."
        ),
    ] = "auto",
    samples: Annotated[int, typer.Option(min=1, help="Faces, balanced over the emotions.")] = 512,
    seed: Annotated[int, typer.Option(help="Decides which faces.")] = 0,
    equalise: Annotated[
        bool,
        typer.Option(help="Even out the channels between layers first (Xiao et al. 2022)."),
    ] = True,
    out: Annotated[
        Path, typer.Option(help="The table to write; its histograms go beside it, as .npz.")
    ] = Path("calibration.json"),
    labels: Labels = None,
    json: Json = False,
) -> None:
    """Measure the INT8 ranges of a model's activations.

    The table goes into fer-edge export --int8 --calibration, which then needs no data
    and writes the same graph, bit for bit. Another method on the same faces takes
    --histograms and no second look at them.

    Examples:
    fer-edge calibrate runs/r50 --data fer2013.zip --method entropy --out entropy.json
    fer-edge calibrate --histograms entropy.npz --method mse --out mse.json
    """
    try:
        from fer_edge.export.importing.sources import open_source
        from fer_edge.export.quantization.calibration import choices, choose_table
        from fer_edge.export.quantization.calibrators import methods
        from fer_edge.export.quantization.observation import Observation, observe_ranges
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Calibrating needs {error.name}, which is not installed.",
            hint="Install it with: pip install 'fer-edge[export]'",
        ) from error
    from fer_edge.data import load_dataset

    if method not in choices():
        raise UsageError(f"--method {method}: choose from {', '.join(choices())}.")
    if out.suffix != ".json":
        raise UsageError(f"--out {out} is not a name for a table.", hint="End it in .json")
    if histograms is not None:
        if source is not None or data is not None or not equalise:
            raise UsageError(
                "--histograms stands for a model and its faces.",
                hint="Drop the model, --data and --no-equalise.",
            )
        if method not in methods():
            raise UsageError(
                "--method auto compares graphs, and --histograms has none.",
                hint=f"Choose from {', '.join(methods())}.",
            )
        table = Observation.load(histograms).table(method)
        table.save(out)
    else:
        if data is None:
            raise UsageError("Calibration needs faces.", hint="Pass --data fer2013.zip")
        with staged_progress(quiet=json) as tell:
            origin = open_source(model_or_carried(source))
            faces = load_dataset(
                data,
                "val",
                labels=labels,
                contract=origin.contract,
                progress=counted(tell, "Reading faces"),
            )
            observed = observe_ranges(
                origin.graph,
                origin.name,
                faces,
                samples=samples,
                seed=seed,
                equalised=equalise,
                progress=counted(tell, "Calibration"),
            )
            table = choose_table(
                method, origin.graph, observed, faces, counted(tell, "Choice of the method")
            )
        observed.save(out.with_suffix(".npz"))
        table.save(out)
    if json:
        print_json({"table": str(out), **table.model_dump(mode="json")})
        return
    typer.echo(
        f"{out}: {len(table.scales)} scales of {table.model} by {table.method} on "
        f"{table.samples:,} faces."
    )
    typer.echo(f"Next: fer-edge export MODEL --int8 --calibration {shlex.quote(str(out))}")
