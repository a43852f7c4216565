"""Confusion matrix, reliability diagram and groups as PNG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_edge.artifact import Score
from fer_edge.contract import EMOTIONS
from fer_edge.errors import MissingDependencyError, UsageError
from fer_edge.evaluation.groups import Audit
from fer_edge.files import atomic_path
from fer_edge.metrics import ReliabilityBin

PRECISION_COLORS = {"fp32": "#0072b2", "fp16": "#d55e00", "int8": "#009e73", "fp8": "#cc79a7"}
"""From Okabe and Ito's palette, which colour-blind readers can tell apart."""


def check_matplotlib() -> None:
    """Raise MissingDependencyError if there is no matplotlib, before what takes long."""
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "Plotting needs matplotlib.", hint="Install it with: pip install 'fer-edge[plot]'"
        ) from error


def check_plot(path: Path, option: str = "") -> None:
    """Raise what drawing to ``path`` would, before what takes long.

    Parameters
    ----------
    path : Path
    option : str
        Said before the name in the message.

    Raises
    ------
    UsageError
        The name does not end in ``.png``.
    MissingDependencyError
        matplotlib is not installed.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"{option}{path} is not a name for a PNG.", hint="End it in .png")
    check_matplotlib()


def as_text(name: str) -> str:
    """A name as matplotlib draws it letter by letter: between two dollars it would read TeX."""
    return name.replace("$", r"\$")


def plot_confusion(
    matrix: NDArray[np.int64], target: Path, classes: Sequence[str] = EMOTIONS
) -> None:
    """Draw a confusion matrix (classes, classes) as PNG: shares per true emotion, in percent.

    The row of an emotion without faces stays empty.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    StorageError
        ``target`` cannot be written.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    totals = matrix.sum(axis=1)
    shares = 100 * matrix / np.maximum(totals, 1)[:, None]
    side = 0.5 * max(len(classes), len(EMOTIONS)) - 0.5 * len(EMOTIONS)
    figure = Figure(figsize=(6.4 + side, 5.6 + side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(shares.shape):
        value = shares[row, column]
        colour = "white" if value > 55 else "black"
        text = f"{value:.0f}" if totals[row] else ""
        axes.text(column, row, text, ha="center", va="center", color=colour)
    names = [as_text(name) for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=40)
    axes.set_yticks(range(len(names)), names)
    total = int(matrix.sum())
    axes.set(
        xlabel="predicted",
        ylabel="true",
        title=f"{100 * np.trace(matrix) / max(total, 1):.2f} % of {total} faces",
    )
    figure.colorbar(image, label="% of the true emotion")
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=120)


def plot_reliability(bins: Sequence[ReliabilityBin], target: Path) -> None:
    """Draw accuracy over confidence, and how many faces have which confidence, as PNG.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    StorageError
        ``target`` cannot be written.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    left = [100 * bin_.low for bin_ in bins]
    width = [100 * (bin_.high - bin_.low) for bin_ in bins]
    accuracy = np.array([100 * bin_.accuracy for bin_ in bins])
    confidence = np.array([100 * bin_.confidence for bin_ in bins])
    faces = np.array([bin_.n for bin_ in bins])
    ece = np.average(np.abs(accuracy - confidence), weights=faces)
    figure = Figure(figsize=(5.6, 6.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    style = {"align": "edge", "edgecolor": "white"}
    top.bar(left, accuracy, width, color="#0072b2", label="accuracy", **style)
    top.bar(
        left,
        confidence - accuracy,
        width,
        accuracy,
        align="edge",
        facecolor="none",
        edgecolor="#d55e00",
        hatch="////",
        label="gap to the confidence",
    )
    top.plot([0, 100], [0, 100], "--", color="black", linewidth=1, label="calibrated")
    top.set(
        xlim=(0, 100),
        ylim=(0, 100),
        ylabel="accuracy (%)",
        title=f"Expected calibration error {ece:.2f} % on {faces.sum()} faces",
    )
    top.legend(loc="upper left")
    bottom.bar(left, 100 * faces / faces.sum(), width, color="tab:gray", **style)
    bottom.set(xlabel="confidence: probability of the predicted emotion (%)", ylabel="faces (%)")
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=120)


def plot_groups(audit: Audit, target: Path) -> None:
    """Draw the accuracy of every group with its interval, a panel for each column, as PNG.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    StorageError
        ``target`` cannot be written.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    columns = list(dict.fromkeys(group.column for group in audit.groups))
    panels = [[group for group in audit.groups if group.column == column] for column in columns]
    heights = [max(len(panel), 1) for panel in panels]
    figure = Figure(figsize=(7, 1 + 0.4 * sum(heights) + 0.5 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for ax, column, panel in zip(axes, columns, panels, strict=True):
        for place, group in enumerate(panel):
            if group.accuracy is None or group.interval is None:
                continue
            low, high = (100 * end for end in group.interval)
            ax.plot([low, high], [place, place], color="#0072b2", linewidth=2)
            ax.plot(100 * group.accuracy, place, "o", color="#0072b2")
        few = " (too few)"
        texts = [
            f"{as_text(g.group)}, n = {g.n:,}{few if g.accuracy is None else ''}" for g in panel
        ]
        ax.set_yticks(range(len(panel)), texts)
        ax.set(title=as_text(column), ylim=(len(panel) - 0.5, -0.5))
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3, axis="x")
    axes[-1].set_xlabel("accuracy (%), with intervals of 95 %")
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=120)


def plot_robustness(score: Score, target: Path) -> None:
    """Draw accuracy against the level of every fault, a panel for each, as PNG.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    StorageError
        ``target`` cannot be written.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(one.fault for one in score.faults))
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(2, -(-len(names) // 2), sharey=True, squeeze=False).flat
    for ax, name in zip(axes, names, strict=False):
        own = [one for one in score.faults if one.fault == name]
        values = [100 * score.accuracy, *(100 * one.accuracy for one in own)]
        ax.plot(range(len(values)), values, "o-", color="#0072b2")
        ax.set_xticks(range(len(values)), ["none", *(f"{one.level:g}" for one in own)])
        ax.set(title=name, xlabel=own[0].unit, ylim=(0, 100))
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3)
    figure.supylabel("accuracy (%)")
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=120)
