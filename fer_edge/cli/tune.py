"""fer-edge tune"""

from dataclasses import replace
from typing import Annotated

import typer

from fer_edge.cli.arguments import Json, ModelArgument, Processor, model_or_carried
from fer_edge.cli.console import print_json, staged_progress
from fer_edge.cli.groups import grouped


@grouped
def tune(
    *,
    model: ModelArgument = None,
    processor: Processor,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds at each batch size, all precisions together.")
    ] = 2.0,
    json: Json = False,
) -> None:
    """Time every precision on this machine, and let 'auto' go by it from now on.

    The times are kept in the user's cache, not in the artifact. The first open on a machine does
    the same in a third of a second; do it again where that met a busy machine.

    Example:
    fer-edge tune build/r50
    """
    from fer_edge.artifact import Artifact
    from fer_edge.engines import open_engine
    from fer_edge.engines.speed import cost, remember_speed
    from fer_edge.engines.tuning import tune as measure

    artifact = Artifact.load(model_or_carried(model))
    if processor.backend == "auto":
        with open_engine(artifact, **vars(processor), tune=False) as engine:
            processor = replace(processor, backend=engine.describe().backend)
    with staged_progress(quiet=json) as tell:
        result = measure(
            artifact,
            **vars(processor),
            seconds=seconds,
            progress=lambda done: tell(f"Timing {processor.backend}", done),
        )
    kept = remember_speed(artifact, result.record)
    with open_engine(artifact, **vars(processor), tune=False) as engine:
        info = engine.describe()
    if json:
        print_json(
            {
                **result.record.model_dump(mode="json"),
                "auto": info.precision,
                "because": info.choice,
                "left_out": result.left_out,
                "kept": None if kept is None else str(kept),
            }
        )
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(f"{artifact.manifest.model} with {processor.backend}"), title_justify="left"
    )
    sizes = sorted({size for own in result.record.ms.values() for size in own})
    table.add_column("precision")
    for size in sizes:
        table.add_column(f"ms at batch {size}", justify="right")
    table.add_column("ms a face", justify="right")
    for precision, own in result.record.ms.items():
        shown = [f"{own[size]:.2f}" if size in own else "-" for size in sizes]
        table.add_row(precision, *shown, f"{cost(own):.3g}")
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(result.record.machine))
    console.print(table)
    for precision, reason in result.left_out.items():
        console.print(Text(f"{precision} was not timed: {reason}"))
    console.print(Text(f"auto takes {info.precision} here ({info.choice})."))
    if kept is None:
        console.print(Text("This could not be kept: the cache folder cannot be written."))
