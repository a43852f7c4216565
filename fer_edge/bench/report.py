"""A bench result as tables for a terminal."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fer_edge.artifact import Score
from fer_edge.bench.baseline import Change
from fer_edge.bench.percentiles import enough_for
from fer_edge.bench.suite import BenchResult, LatencyRow, PrecisionResult
from fer_edge.tables import plain_table, without_label


def render(result: BenchResult) -> Group:
    """Latency, cost, accuracy and recall, one line per precision (and batch size).

    Measured accuracy stands beside the one that the manifest records for the same faces. Without
    measured scores the recorded ones are shown, and said to be that. Fits 80 columns.
    """
    parts: list[RenderableType] = [_heading(result), _latency(result), *_on_gpu(result)]
    parts += [*_scenarios(result), _cost(result)]
    parts += [Text(f"\n{line}") for line in _remarks(result)]
    measured = any(row.score for row in result.precisions)
    rows = [(row, row.score or row.recorded_score) for row in result.precisions]
    scored = [(row, shown) for row, shown in rows if shown is not None]
    if scored:
        source = "measured" if measured else "recorded in the manifest"
        parts += [_accuracy(scored, source), _recall(result.labels, scored, source)]
    if not measured:
        parts.append(Text("\nAccuracy was not measured: it needs data (--data fer2013.zip)."))
    return Group(*parts)


def _heading(result: BenchResult) -> Text:
    machine = result.machine
    threads = "" if result.threads is None else f", {result.threads} threads"
    memory = "" if machine.memory_gib is None else f", {machine.memory_gib:g} GiB"
    return Text(
        "\n".join(
            [
                f"{result.model} ({result.artifact})",
                f"{machine.cpu}, {machine.cores} cores{threads}{memory}",
                *machine.gpus,
            ]
        )
    )


def _table(title: str, *columns: str) -> Table:
    table = plain_table(title)
    table.padding = (0, 1, 0, 0)
    table.add_column("Precision", no_wrap=True)
    for column in columns:
        # Labels are the model's own: text, not markup.
        table.add_column(escape(column), justify="right", overflow="fold")
    return table


def _latency(result: BenchResult) -> Table:
    table = _table(
        "Latency of a call in ms",
        *("Batch", "p50", "±", "p90", "p99", "Faces/s", "vs fp32", "Repeats"),
    )
    for row in result.precisions:
        for latency in row.latency:
            table.add_row(
                row.precision,
                str(latency.batch),
                f"{latency.p50_ms:.2f}",
                _reach(latency),
                _or_dash(latency.p90_ms, "{:.2f}"),
                _or_dash(latency.p99_ms, "{:.2f}"),
                f"{latency.faces_per_second:,.0f}",
                _or_dash(latency.speedup_vs_fp32, "{:.2f}x"),
                str(latency.repeats),
            )
    return table


def _reach(latency: LatencyRow) -> str:
    """Half the interval of the median."""
    if latency.p50_interval_ms is None:
        return "-"
    low, high = latency.p50_interval_ms
    return f"{(high - low) / 2:.2f}"


def _scenarios(result: BenchResult) -> list[Table]:
    served = [(row.precision, one) for row in result.precisions for one in row.scenarios]
    if not served:
        return []
    table = _table(
        "As MLPerf Inference asks",
        *("Queries", "Latency", "95 %", "Faces/s", "Drift", "mJ"),
    )
    for precision, one in served:
        interval = one.interval_ms
        table.add_row(
            f"{precision} {one.scenario}",
            f"{one.queries:,}",
            "-"
            if one.percentile is None or one.latency_ms is None
            else f"p{one.percentile} {one.latency_ms:.2f}",
            "-" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}",
            f"{one.faces_per_second:,.0f}" if one.met else "none",
            f"{100 * one.slowdown:+.0f} %",
            _or_dash(None if one.joules_per_face is None else 1e3 * one.joules_per_face, "{:.2f}"),
        )
    return [table]


def render_changes(changes: Sequence[Change]) -> Group:
    """What changed since a baseline, a line for each figure."""
    table = plain_table("Against the baseline")
    for column in ("", "", "before", "now", "change", "allowed", ""):
        table.add_column(column, justify="right")
    for change in changes:
        timed = change.what == "latency"
        scale, unit = (1.0, "ms") if timed else (100.0, "%")
        table.add_row(
            change.precision,
            f"batch {change.batch}" if timed else "accuracy",
            f"{scale * change.before:.2f} {unit}",
            f"{scale * change.now:.2f} {unit}",
            f"{change.change:+.1f} %" if timed else f"{-change.change:+.2f} points",
            _or_dash(change.limit, "+{:g} %" if timed else "-{:g} points"),
            "beyond" if change.beyond else "",
        )
    return Group(table)


def _on_gpu(result: BenchResult) -> list[Table]:
    measured = [
        (row.precision, latency.batch, latency.on_gpu)
        for row in result.precisions
        for latency in row.latency
        if latency.on_gpu is not None
    ]
    if not measured:
        return []
    table = _table(
        "On the GPU in ms, p50 / p99; faces/s with two batches in flight",
        *("Batch", "H2D", "Compute", "D2H", "Enqueue", "Faces/s"),
    )
    for precision, batch, parts in measured:
        spreads = (parts.host_to_device, parts.compute, parts.device_to_host, parts.enqueue)
        table.add_row(
            precision,
            str(batch),
            *(f"{spread.p50_ms:.2f} / {spread.p99_ms:.2f}" for spread in spreads),
            f"{parts.two_in_flight_faces_per_second:,.0f}",
        )
    return [table]


def _cost(result: BenchResult) -> Table:
    batch = result.precisions[0].latency[-1].batch
    table = _table(
        f"Cost (memory: peak of a process of its own at batch {batch})",
        *("Backend", "File", "Size MB", "Memory MiB"),
    )
    for row in result.precisions:
        table.add_row(
            row.precision,
            " ".join(filter(None, (row.backend, row.backend_version, row.inference_precision))),
            escape(row.file),
            f"{row.size_bytes / 1e6:.2f}",
            _or_dash(row.peak_memory_mib, "{:.0f}"),
        )
    return table


def _remarks(result: BenchResult) -> list[str]:
    """Why a ratio or a precision is not there, and what would have run instead."""
    remarks = []
    if result.processes > 1:
        remarks.append(f"Times are medians of {result.processes} processes; ± is over them (95 %).")
    else:
        remarks.append("± is of the median, over eight turns in one process (95 %).")
    served = [one for row in result.precisions for one in row.scenarios]
    if served:
        remarks.append(
            "Latency in ms, from arrival to answer; drift: of the run's last tenth against its "
            "first; mJ: of the processor, a face."
        )
    bound = next((one.bound_ms for one in served if one.bound_ms is not None), None)
    if bound is not None:
        remarks.append(
            f"server: the highest rate of random arrivals with a p99 of at most {bound:g} ms; "
            "none: not even a sixteenth of the offline rate."
        )
    if any(lat.p99_ms is None for row in result.precisions for lat in row.latency):
        remarks.append(
            f"A p99 takes {enough_for(0.99):,} calls, a p90 {enough_for(0.9)}: --seconds gives "
            "more."
        )
    first = result.precisions[0]
    apart = [row.precision for row in result.precisions if row.backend != first.backend]
    if first.precision == "fp32" and apart:
        remarks.append(
            f"vs fp32 compares within one backend, and fp32 ran on {first.backend}: none for "
            f"{', '.join(apart)}."
        )
    for precision, command in result.left_out.items():
        remarks.append(f"{precision} has no engine for {first.backend}. Build one with: {command}")
    for row in result.precisions:
        remarks += [f"{row.precision} passed over {reason}" for reason in row.passed_over]
        if row.integers:
            remarks.append(f"{row.precision} is computed as {row.integers}.")
    measured = next((row.score for row in result.precisions if row.score), None)
    if measured is not None and measured.left_out:
        remarks.append(without_label(measured.left_out))
    return remarks


def _accuracy(scored: list[tuple[PrecisionResult, Score]], source: str) -> Table:
    table = _table(
        f"Accuracy in %, {source}",
        *("Faces", "Accuracy", "Recorded", "Macro-F1", "As fp32", "McNemar p"),
    )
    for row, shown in scored:
        recorded = row.recorded_score
        table.add_row(
            row.precision,
            f"{shown.split} {shown.n}",
            f"{100 * shown.accuracy:.2f} ± {100 * shown.standard_error:.2f}",
            f"{100 * recorded.accuracy:.2f}"
            if row.score and recorded and recorded.data == shown.data
            else "-",
            f"{100 * shown.macro_f1:.2f}",
            _or_dash(shown.agreement_with_fp32, "{:.2%}"),
            _or_dash(shown.mcnemar_p, "{:.3f}"),
        )
    return table


def _recall(
    labels: Sequence[str], scored: list[tuple[PrecisionResult, Score]], source: str
) -> Table:
    table = _table(f"Recall in %, {source}", *(label.capitalize() for label in labels))
    for row, shown in scored:
        table.add_row(
            row.precision,
            *(
                f"{100 * shown.recall[emotion]:.1f}" if emotion in shown.recall else "-"
                for emotion in labels
            ),
        )
    return table


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
