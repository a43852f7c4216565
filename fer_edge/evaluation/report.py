"""An evaluation as files: pictures for people, JSON and csv for programs."""

import csv
import io
from pathlib import Path

import numpy as np

from fer_edge.data import FaceDataset
from fer_edge.engines.base import Probabilities
from fer_edge.evaluation.analysis import Evaluation
from fer_edge.evaluation.contact_sheet import draw_worst
from fer_edge.evaluation.plots import plot_confusion, plot_groups, plot_reliability, plot_robustness
from fer_edge.files import write_text


def write_report(
    folder: Path, evaluation: Evaluation, dataset: FaceDataset, probabilities: Probabilities
) -> list[Path]:
    """Write an evaluation's files to ``folder``, which is made if need be, and return their paths.

    ``evaluation.json``, ``predictions.csv`` (name, label, predicted, the probabilities),
    ``confusion_matrix.png``, ``reliability.png`` and ``worst.png``; with an audit
    ``groups.png``, with robustness ``robustness.png``.

    Parameters
    ----------
    folder : Path
    evaluation, probabilities
        As :func:`fer_edge.evaluation.evaluate` returns them for ``dataset``.
    dataset : FaceDataset

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    StorageError
        A file cannot be written.
    """
    names = ("evaluation.json", "predictions.csv", "confusion_matrix.png", "reliability.png")
    record, table, confusion, reliability = (folder / name for name in names)
    worst = folder / "worst.png"
    write_text(record, evaluation.model_dump_json(indent=2) + "\n")
    write_text(table, predictions_csv(dataset, probabilities))
    plot_confusion(np.array(evaluation.confusion), confusion, dataset.classes)
    plot_reliability(evaluation.reliability, reliability)
    draw_worst(dataset, probabilities, worst)
    written = [record, table, confusion, reliability, worst]
    if evaluation.audit is not None:
        groups = folder / "groups.png"
        plot_groups(evaluation.audit, groups)
        written.append(groups)
    if evaluation.score.faults:
        faults = folder / "robustness.png"
        plot_robustness(evaluation.score, faults)
        written.append(faults)
    return written


def predictions_csv(dataset: FaceDataset, probabilities: Probabilities) -> str:
    """One line per face; a face without a name goes by its index in the split."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    classes = dataset.classes
    writer.writerow(["name", "label", "predicted", *classes])
    names = range(len(dataset)) if dataset.names is None else dataset.names
    rows = zip(names, dataset.labels, probabilities, strict=True)
    for name, label, values in rows:
        shares = [f"{value:.6f}" for value in values]
        writer.writerow([name, classes[label], classes[values.argmax()], *shares])
    return stream.getvalue()
