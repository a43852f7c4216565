"""Speed against quality, of detectors and of classifiers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

OURS = "fer-edge"
Row = dict[str, Any]


def plot(detectors: list[Row], classifiers: list[Row], path: Path) -> None:
    """One point for each row that was measured; rows with ``failed`` have none."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _points(left, detectors, lambda row: 100 * row["frames"]["found"])
    left.set(xlabel="frames/s, one core", ylabel="known faces found, %", title="Detection")
    _points(right, classifiers, lambda row: 100 * row["accuracy"])
    right.set(
        xlabel="faces/s, one core, a face at a time", ylabel="accuracy, %", title="FER2013, val"
    )
    figure.savefig(path, dpi=110)


def frontier(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points of speed and quality beside which none is at least as fast and better, or faster and
    as good; the slowest first."""
    kept: list[tuple[float, float]] = []
    for point in sorted(points, reverse=True):
        if not kept or point[1] > kept[-1][1]:
            kept.append(point)
    return kept[::-1]


def _points(axes: Any, rows: list[Row], quality: Callable[[Row], float]) -> None:
    axes.set_xscale("log")
    measured = [row for row in rows if "failed" not in row]
    best = frontier([(row["per_second"], quality(row)) for row in measured])
    axes.plot(*zip(*best, strict=True), color="0.7", linewidth=1, zorder=0, label="the frontier")
    # Red is ours.
    others = zip("ovDX<>ph8dox", (f"C{i}" for i in range(99) if i % 10 != 3), strict=False)
    models: dict[str, str] = {}
    for row in sorted(measured, key=lambda row: row["per_second"]):
        if row["name"].startswith(OURS):
            style = _own_style(row["name"], models)
        else:
            marker, color = next(others, ("x", "C7"))
            style = {"marker": marker, "markersize": 7, "color": color}
        axes.plot(
            *(row["per_second"], quality(row)),
            linestyle="",
            label=row["name"],
            **style,
        )
    axes.legend(fontsize=7, loc="best")
    axes.margins(0.15)
    axes.grid(alpha=0.3)


def _own_style(name: str, models: dict[str, str]) -> dict[str, Any]:
    """Red, a marker for each model, hollow where it computes in FP32."""
    model, _, precision = name.rpartition(" ")
    marker = models.setdefault(model, "*P^sD"[len(models) % 5])
    return {
        "marker": marker,
        "markersize": 13 if marker == "*" else 9,
        "color": "C3",
        "markerfacecolor": "none" if precision == "FP32" else "C3",
    }
