"""Pictures of a run: learning curves and confusion matrix."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fer_edge.contract import EMOTIONS
from fer_edge.files import atomic_path


def plot_curves(metrics: Path, target: Path) -> None:
    """Draw loss and accuracy over epochs from ``metrics.jsonl`` as PNG."""
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for part, colour in (("train", "tab:gray"), ("val", "tab:blue")):
        # The marker shows the first epoch, too, when a line has nowhere to go yet.
        style = {"color": colour, "label": part, "marker": "."}
        loss.plot(epochs, [row[f"{part}_loss"] for row in rows], **style)
        shares = [100 * row[f"{part}_accuracy"] for row in rows]
        accuracy.plot(epochs, shares, **style)
    best = max(rows, key=lambda row: row["val_accuracy"])
    accuracy.plot(best["epoch"], 100 * best["val_accuracy"], "o", color="tab:blue")
    accuracy.set_title(f"best val {100 * best['val_accuracy']:.2f} % in epoch {best['epoch']}")
    loss.set(xlabel="epoch", ylabel="cross-entropy (nats)")
    accuracy.set(xlabel="epoch", ylabel="accuracy (%)")
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=120)


def plot_confusion(matrix: NDArray[np.int64], target: Path) -> None:
    """Draw a confusion matrix (7, 7) as PNG: shares per true emotion, in percent.

    The row of an emotion without faces stays empty.
    """
    totals = matrix.sum(axis=1)
    shares = 100 * matrix / np.maximum(totals, 1)[:, None]
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(shares.shape):
        value = shares[row, column]
        colour = "white" if value > 55 else "black"
        text = f"{value:.0f}" if totals[row] else ""
        axes.text(column, row, text, ha="center", va="center", color=colour)
    axes.set_xticks(range(len(EMOTIONS)), EMOTIONS, rotation=40)
    axes.set_yticks(range(len(EMOTIONS)), EMOTIONS)
    total = int(matrix.sum())
    axes.set(
        xlabel="predicted",
        ylabel="true",
        title=f"{100 * np.trace(matrix) / max(total, 1):.2f} % of {total} faces",
    )
    figure.colorbar(image, label="% of the true emotion")
    with atomic_path(target) as temporary:
        figure.savefig(temporary, dpi=120)
