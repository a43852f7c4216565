"""fer-edge bench"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_edge.cli.arguments import Json, Labels, ModelArgument, Processor, batches, model_or_carried
from fer_edge.cli.console import counted, print_json, staged_progress
from fer_edge.cli.groups import grouped
from fer_edge.contract import PRECISIONS
from fer_edge.errors import UsageError

if TYPE_CHECKING:
    from fer_edge.bench.baseline import Change
    from fer_edge.bench.scenarios import Scenario
    from fer_edge.bench.suite import BenchResult

_SERVING = "How it serves"
_BASELINE = "Against an earlier run"


@grouped
def bench(
    *,
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
    processor: Processor,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Timed seconds per precision and batch size.")
    ] = 2.0,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            help="single-stream, multi-stream, server, offline, or all: as MLPerf Inference names "
            "them; may be repeated.",
            rich_help_panel=_SERVING,
        ),
    ] = None,
    bound: Annotated[
        float,
        typer.Option(
            min=0.01,
            help="Milliseconds that the p99 of server has to keep.",
            rich_help_panel=_SERVING,
        ),
    ] = 15.0,
    processes: Annotated[
        int,
        typer.Option(min=1, help="Time in so many processes, one after the other."),
    ] = 1,
    baseline: Annotated[
        Path | None,
        typer.Option(
            help="Hold this run against an earlier one's --out; exit status 1 beyond a limit.",
            rich_help_panel=_BASELINE,
        ),
    ] = None,
    max_slowdown: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Percent by which the median of a call may rise.",
            rich_help_panel=_BASELINE,
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(min=0, help="Points of accuracy that may be lost.", rich_help_panel=_BASELINE),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a PNG: latency against accuracy.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the result as JSON, too.")] = None,
    labels: Labels = None,
    json: Json = False,
) -> None:
    """Measure latency, memory and accuracy of every precision side by side.

    Precisions take turns, so that a noisy machine slows all alike. A percentile is
    shown only where enough calls lie beyond it.

    Examples:
    fer-edge bench build/r50 --data fer2013.zip --batch 1,8,64 --plot r50.png
    fer-edge bench build/r50 --scenario all --seconds 60
    fer-edge bench build/r50 --baseline old.json --max-slowdown 5 --max-drop 0.2
    """
    from fer_edge.artifact import Artifact
    from fer_edge.bench.baseline import check_limits, compare, read_baseline
    from fer_edge.bench.machine import describe_machine
    from fer_edge.bench.processes import in_processes, with_processes
    from fer_edge.bench.suite import run_bench
    from fer_edge.data import load_dataset
    from fer_edge.evaluation.plots import check_plot
    from fer_edge.files import check_apart

    named = _scenarios(scenario or [])
    if baseline is None and (max_slowdown is not None or max_drop is not None):
        raise UsageError("Limits are held against a baseline.", hint="Add --baseline old.json")
    before = None if baseline is None else read_baseline(baseline)
    if out is not None and baseline is not None:
        check_apart(out, [baseline])
    for name in precision or []:
        if name not in PRECISIONS:
            raise UsageError(f"--precision {name}: choose from {', '.join(PRECISIONS)}.")
    sizes = batches(batch)
    path = model_or_carried(model)
    # Before the data, which may take a minute to read, and the measurement, which takes more.
    artifact = Artifact.load(path)
    if plot is not None:
        check_plot(plot)
    with staged_progress(quiet=json) as tell:
        faces = (
            load_dataset(
                data,
                split,  # type: ignore[arg-type]
                labels=labels,
                contract=artifact.contract,
                progress=counted(tell, "Reading faces"),
            )
            if data
            else None
        )
        if before is not None:
            check_limits(
                before,
                machine=describe_machine(),
                threads=processor.threads,
                precisions=precision or list(artifact.manifest.graphs),
                batches=sizes,
                faces=None if faces is None else faces.fingerprint,
                max_slowdown=max_slowdown,
                max_drop=max_drop,
            )
        result = run_bench(
            path,
            data=faces,
            batches=sizes,
            precisions=precision,  # type: ignore[arg-type]
            **vars(processor),
            seconds=seconds,
            scenarios=named,
            bound_ms=bound,
            progress=tell,
        )
        if processes > 1:
            options = _timing_options(path, batch, precision, processor, seconds)
            result = with_processes(
                result, in_processes(options, processes - 1, counted(tell, "Other processes"))
            )
    changes, refusal = None, None
    if before is not None:
        try:
            changes = compare(before, result, max_slowdown=max_slowdown, max_drop=max_drop)
        except UsageError as error:
            # What was measured is not lost with it.
            refusal = error
    _give(result, changes, json=json, out=out, plot=plot)
    if refusal is not None:
        raise refusal
    if changes is not None and any(change.beyond for change in changes):
        raise typer.Exit(1)


def _give(
    result: "BenchResult",
    changes: "list[Change] | None",
    *,
    json: bool,
    out: Path | None,
    plot: Path | None,
) -> None:
    """Show a result, and write it where it was asked for."""
    from fer_edge.bench.plot import plot_bench
    from fer_edge.bench.report import render, render_changes
    from fer_edge.files import write_text

    if json:
        told = result.model_dump(mode="json")
        if changes is not None:
            told["changes"] = [change.model_dump(mode="json") for change in changes]
        print_json(told)
    else:
        from rich.console import Console

        Console().print(render(result))
        if changes is not None:
            Console().print(render_changes(changes))
    if out is not None:
        write_text(out, result.model_dump_json(indent=2) + "\n")
    if plot is not None:
        plot_bench(result, plot)


def _scenarios(named: list[str]) -> list["Scenario"]:
    from fer_edge.bench.scenarios import SCENARIOS

    for name in named:
        if name not in ("all", *SCENARIOS):
            raise UsageError(f"--scenario {name}: choose from all, {', '.join(SCENARIOS)}.")
    return [name for name in SCENARIOS if name in named or "all" in named]


def _timing_options(
    model: Path,
    batch: str,
    precision: list[str] | None,
    processor: Processor,
    seconds: float,
) -> list[str]:
    """Of a process that times and does not score."""
    options = [str(model), "--batch", batch, "--seconds", str(seconds)]
    options += ["--backend", processor.backend, "--device", processor.device]
    options += [word for name in precision or [] for word in ("--precision", name)]
    threads = processor.threads
    return options if threads is None else [*options, "--threads", str(threads)]
