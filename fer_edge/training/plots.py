"""Learning curves of a run."""

import json
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fer_edge.files import atomic_path
from fer_edge.training.epoch import rank


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
    best = max(rows, key=lambda row: rank(row["val_accuracy"], row["val_loss"]))
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
