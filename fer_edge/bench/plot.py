"""A bench result as a picture."""

from pathlib import Path

from fer_edge.bench.suite import BenchResult
from fer_edge.evaluation.plots import PRECISION_COLORS, as_text, check_plot
from fer_edge.files import atomic_path

_MARKERS = {"fp32": "o", "fp16": "s", "int8": "D", "fp8": "^"}


def plot_bench(result: BenchResult, path: Path) -> None:
    """Write a PNG: latency against accuracy, or faces per second where no accuracy is known.

    Latency is the median call at the smallest batch of the run. Error bars are one standard error
    to each side.

    Raises
    ------
    UsageError
        ``path`` does not end in ``.png``.
    MissingDependencyError
        matplotlib is not installed.
    StorageError
        ``path`` cannot be written.
    """
    check_plot(path)
    # Not pyplot: it keeps global state and looks for a display.
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    def accuracy(axes: Axes) -> None:
        measured = all(row.score for row in result.precisions)
        for row in result.precisions:
            score = row.score or row.recorded_score
            if score is None:
                continue
            x, y = row.latency[0].p50_ms, 100 * score.accuracy
            axes.errorbar(
                x,
                y,
                100 * score.standard_error,
                fmt=_MARKERS[row.precision],
                markersize=9,
                capsize=4,
                color=PRECISION_COLORS[row.precision],
                label=f"{row.precision}: {y:.1f} %, {x:.2f} ms",
            )
        shown = next(s for row in result.precisions if (s := row.score or row.recorded_score))
        axes.set_xlim(left=0)
        axes.margins(x=0.15, y=0.15)
        axes.set_xlabel(f"Median latency at batch {result.precisions[0].latency[0].batch} (ms)")
        what = "Accuracy" if measured else "Recorded accuracy"
        axes.set_ylabel(f"{what} on {shown.split}, n = {shown.n} (% ± SE)")

    def throughput(axes: Axes) -> None:
        width = 0.8 / len(result.precisions)
        batches = [latency.batch for latency in result.precisions[0].latency]
        for index, row in enumerate(result.precisions):
            bars = axes.bar(
                [
                    at + (index - (len(result.precisions) - 1) / 2) * width
                    for at in range(len(batches))
                ],
                [latency.faces_per_second for latency in row.latency],
                width * 0.94,
                color=PRECISION_COLORS[row.precision],
                label=row.precision,
            )
            axes.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=8)
        axes.set_xticks(range(len(batches)), [str(batch) for batch in batches])
        axes.set_xlabel("Batch")
        axes.set_ylabel("Faces per second")
        axes.margins(y=0.12)

    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    if any(row.score or row.recorded_score for row in result.precisions):
        accuracy(axes)
    else:
        throughput(axes)
    # Beside the markers, labels of precisions that come out alike would cover each other.
    figure.legend(loc="outside lower center", ncols=len(result.precisions), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    backends = ", ".join(dict.fromkeys(row.backend for row in result.precisions))
    title = f"{result.model}, {backends}\n{result.machine.cpu}"
    axes.set_title(as_text(title), loc="left", fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
