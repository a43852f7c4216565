"""What is measured of an epoch, and the file that keeps it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge import metrics
from fer_edge.contract import EMOTIONS
from fer_edge.files import storage_errors, write_text

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Epoch:
    """One line of ``metrics.jsonl``. Losses are cross-entropies in nats; shares are 0..1.

    ``train_*`` are of augmented and mixed faces, with label smoothing, weights and teachers;
    ``val_*`` without.
    """

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    val_macro_f1: float
    val_recall: dict[str, float | None]
    """None for an emotion without faces."""
    seconds: float
    faces_per_second: float
    loader_share: float
    """Share of the training time spent outside the model: gathering and augmenting batches.

    On a GPU it is the time to queue that work, which the GPU does later.
    """


def val_figures(matrix: NDArray[np.int64], labels: Sequence[str] = EMOTIONS) -> dict[str, Any]:
    """Those fields of :class:`Epoch` that follow from the confusion matrix of val."""
    recalls = metrics.recalls(matrix, labels)
    return {
        "val_accuracy": metrics.accuracy(matrix),
        "val_macro_f1": metrics.macro_f1(matrix, labels),
        # NaN is no JSON.
        "val_recall": {k: None if np.isnan(v) else v for k, v in recalls.items()},
    }


def rank(val_accuracy: float, val_loss: float) -> tuple[float, float]:
    """What epochs are compared by: of equal accuracies, which small data often have, the lower loss
    tells the network that has learnt more."""
    return val_accuracy, -val_loss


def metrics_of(run: Path, epoch: int) -> dict[str, Any]:
    """The line of ``metrics.jsonl`` of an epoch, from 1."""
    lines = map(json.loads, (run / METRICS).read_text().splitlines())
    return next(line for line in lines if line["epoch"] == epoch)


def add_line(run: Path, epoch: Epoch) -> None:
    """Write a line of ``metrics.jsonl``."""
    with storage_errors(run / METRICS), (run / METRICS).open("a") as stream:
        stream.write(json.dumps(vars(epoch), allow_nan=False) + "\n")


def drop_lines_after(run: Path, epoch: int) -> None:
    """A run stopped between writing metrics and checkpoint has one line too many."""
    path = run / METRICS
    if path.is_file():
        write_text(path, "".join(path.read_text().splitlines(keepends=True)[:epoch]))
