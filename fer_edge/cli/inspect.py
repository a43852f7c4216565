"""fer-edge inspect"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.arguments import Json, Labels, ModelArgument, model_or_carried
from fer_edge.cli.console import counted, print_json, staged_progress
from fer_edge.contract import PRECISIONS, Precision
from fer_edge.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from fer_edge.export.inspection.layers import LayerReport


def inspect(
    model: ModelArgument = None,
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, fp16, int8 or fp8. (default: int8 if there, else the lowest)"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="FER2013: measure what each layer costs in INT8, where the artifact does not "
            "tell. Minutes for a ResNet-50; measured layers are kept for the next time."
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG of the layers.")] = None,
    labels: Labels = None,
    json: Json = False,
) -> None:
    """Show a graph layer by layer: precision, fusions, sensitivity, and why a layer was kept.

    Divergence and accuracy are what INT8 costs in this layer alone, all others in
    FP32; export --max-drop measures it and stores it in calibration.json, and so does
    --data here, without storing it. Fusions are those that TensorRT documents; a
    layer that a built TensorRT engine runs otherwise is named below the table.

    Examples:
    fer-edge inspect build/r50
    fer-edge inspect build/r50 --data fer2013.zip --plot r50.png
    """
    try:
        from fer_edge.evaluation.plots import check_plot
        from fer_edge.export.inspection.layer_plot import plot_layers
        from fer_edge.export.inspection.layers import describe_layers, measured_layers
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Inspecting needs {error.name}, which is not installed.",
            hint="Install it with: pip install 'fer-edge[export]'",
        ) from error
    from fer_edge.artifact import Artifact
    from fer_edge.data import load_dataset

    if precision not in (None, *PRECISIONS):
        raise UsageError(f"--precision {precision}: choose from {', '.join(PRECISIONS)}.")
    if plot is not None:
        check_plot(plot, "--plot ")
    artifact = Artifact.load(model_or_carried(model))
    graphs = artifact.manifest.graphs
    chosen: Precision = precision or next(  # type: ignore[assignment]
        name for name in ("int8", "fp8", "fp16", "fp32") if name in graphs or name == "fp32"
    )
    if data is None:
        layers = describe_layers(artifact, chosen)
    else:
        with staged_progress(quiet=json) as tell:
            faces = load_dataset(
                data,
                "val",
                labels=labels,
                contract=artifact.contract,
                progress=counted(tell, "Reading faces"),
            )
            layers = measured_layers(artifact, chosen, faces, progress=counted(tell, "Sensitivity"))
    title = f"{artifact.manifest.model}, {artifact.graph(chosen).file}"
    if plot is not None:
        plot_layers(layers, title, plot)
    if json:
        print_json(
            {
                "artifact": str(artifact.folder),
                "precision": chosen,
                "layers": [layer.model_dump(mode="json") for layer in layers],
            }
        )
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_table(layers, title))
    for layer in layers:
        if layer.kept:
            typer.echo(f"{layer.name} stays in {layer.precision}: {layer.kept}")
    for layer in layers:
        for file, cause in layer.engines.items():
            typer.echo(f"{layer.name} does not run in INT8 in {file}: {cause}")
    if chosen in ("int8", "fp8") and any(
        engine.precision == chosen for engine in artifact.manifest.engines
    ):
        typer.echo("What this file has in fp32 is fp16 in its TensorRT engines.")
    if chosen == "int8" and all(layer.divergence is None for layer in layers):
        typer.echo("Next: fer-edge inspect ... --data FER2013 measures what each layer costs.")
    if plot is not None:
        typer.echo(f"Picture: {plot}")


def _table(layers: "list[LayerReport]", title: str) -> "Table":
    from rich.text import Text

    from fer_edge.tables import plain_table

    table = plain_table(title)
    for column in ("layer", "what", "in", "with"):
        table.add_column(column, overflow="fold")
    for column in ("M MACs", "1e-3 nats", "points"):
        table.add_column(column, justify="right")
    for layer in layers:
        cost, drop = layer.divergence, layer.accuracy_drop
        table.add_row(
            Text(layer.name),
            Text(_what(layer)),
            layer.precision,
            Text(", ".join(layer.fused)),
            f"{layer.multiply_adds / 1e6:.2f}" if layer.multiply_adds else "",
            "" if cost is None else f"{1e3 * cost:.3f}",
            "" if drop is None else f"{0 - round(100 * drop, 2):+.2f}",
        )
    return table


def _what(layer: "LayerReport") -> str:
    """``Conv 3x3 64>128`` for a convolution from 64 to 128 channels."""
    if not layer.shape:
        return {"GlobalAveragePool": "average pool"}.get(layer.operator, layer.operator)
    outputs, inputs, *kernel = layer.shape
    return " ".join(
        filter(None, [layer.operator, "x".join(map(str, kernel)), f"{inputs}>{outputs}"])
    )
