"""fer-edge bench"""

from pathlib import Path
from typing import Annotated

import typer

from fer_edge.cli.arguments import (
    Backend,
    Device,
    Json,
    Labels,
    ModelArgument,
    Threads,
    batches,
    model_or_carried,
)
from fer_edge.cli.console import counted, print_json, staged_progress
from fer_edge.contract import PRECISIONS
from fer_edge.errors import UsageError


def bench(
    model: ModelArgument = None,
    data: Annotated[
        Path | None, typer.Option(help="FER2013 to score on; without it, latency only.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    batch: Annotated[str, typer.Option(help="Batch sizes to time.")] = "1,8,64",
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="fp32, fp16, int8 or fp8; may be repeated. (default: all in the artifact)"
        ),
    ] = None,
    backend: Backend = "auto",
    threads: Threads = None,
    device: Device = "auto",
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Timed seconds per precision and batch size.")
    ] = 2.0,
    plot: Annotated[
        Path | None, typer.Option(help="Write a PNG: latency against accuracy.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the result as JSON, too.")] = None,
    labels: Labels = None,
    json: Json = False,
) -> None:
    """Measure latency, memory and accuracy of every precision side by side.

    Precisions take turns, so that a noisy machine slows all alike.

    Example:
    fer-edge bench build/r50 --data fer2013.zip --batch 1,8,64 --plot r50.png
    """
    from fer_edge.artifact import Artifact
    from fer_edge.bench.plot import plot_bench
    from fer_edge.bench.report import render
    from fer_edge.bench.suite import run_bench
    from fer_edge.data import load_dataset
    from fer_edge.evaluation.plots import check_plot
    from fer_edge.files import write_text

    for name in precision or []:
        if name not in PRECISIONS:
            raise UsageError(f"--precision {name}: choose from {', '.join(PRECISIONS)}.")
    sizes = batches(batch)
    path = model_or_carried(model)
    # Before the data, which may take a minute to read, and the measurement, which takes more.
    contract = Artifact.load(path).contract
    if plot is not None:
        check_plot(plot)
    with staged_progress(quiet=json) as tell:
        faces = (
            load_dataset(
                data,
                split,  # type: ignore[arg-type]
                labels=labels,
                contract=contract,
                progress=counted(tell, "Reading faces"),
            )
            if data
            else None
        )
        result = run_bench(
            path,
            data=faces,
            batches=sizes,
            precisions=precision,  # type: ignore[arg-type]
            backend=backend,
            threads=threads,
            device=device,
            seconds=seconds,
            progress=tell,
        )
    if json:
        print_json(result.model_dump(mode="json"))
    else:
        from rich.console import Console

        Console().print(render(result))
    if out is not None:
        write_text(out, result.model_dump_json(indent=2) + "\n")
    if plot is not None:
        plot_bench(result, plot)
