"""Speed against quality, of detectors and of classifiers."""

from pathlib import Path
from typing import Any

OURS = "fer-edge"


def plot(detectors: list[dict[str, Any]], classifiers: list[dict[str, Any]], path: Path) -> None:
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


def _points(axes: Any, rows: list[dict[str, Any]], quality: Any) -> None:
    axes.set_xscale("log")
    measured = [row for row in rows if "failed" not in row]
    others = iter("os^vDPX<>ph8d")
    for row in sorted(measured, key=lambda row: row["per_second"]):
        ours = row["name"].startswith(OURS)
        axes.plot(
            *(row["per_second"], quality(row)),
            marker="*" if ours else next(others, "x"),
            markersize=13 if ours else 7,
            linestyle="",
            color="C3" if ours else None,
            label=row["name"],
        )
    axes.legend(fontsize=7, loc="best")
    axes.margins(0.15)
    axes.grid(alpha=0.3)
