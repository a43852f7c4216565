"""The two tables: detectors and classifiers."""

from typing import Any

from bench.frames import against_known, as_found
from bench.peers.answers import Questions
from bench.peers.declared import Entry
from bench.peers.scores import against_agreed, against_labels, agreed, in_order, joined
from bench.recording import table
from fer_edge.evaluation.detections import Found

OURS = "fer-edge"
REFERENCE = "compact INT8"
"""Of FER-Edge: what the others' labels are held against."""
_UNWANTED = ("answers", "labels")

Outcomes = dict[Entry, dict[str, Any]]


def detector_rows(told: Outcomes, questions: Questions) -> list[dict[str, Any]]:
    """One row for each variant that detects, with its error where it could not be measured."""
    mine = {entry: one for entry, one in told.items() if entry.task == "detect"}
    found: dict[Entry, list[Found]] = {
        entry: [as_found(rows) for rows in one["answers"]]
        for entry, one in mine.items()
        if "failed" not in one
    }
    n = len(questions.frames)
    methods = {entry: entry.adapter.detectors[entry.variant] for entry in mine}
    faces = [
        agreed(
            {
                method: joined([found[entry][n + i] for entry in found if methods[entry] == method])
                for method in sorted({methods[entry] for entry in found})
            }
        )
        for i in range(len(questions.photos))
    ]
    rows = []
    for entry, one in mine.items():
        row = {"name": entry.name, "method": methods[entry], **_facts(one)}
        if entry in found:
            row["frames"] = against_known(found[entry][:n], questions.truth)
            row["photos"] = against_agreed(found[entry][n:], faces)
        rows.append(row)
    return rows


def classifier_rows(told: Outcomes, questions: Questions) -> list[dict[str, Any]]:
    """One row for each variant that classifies, with its error where it could not be measured."""
    mine = {entry: one for entry, one in told.items() if entry.task == "classify"}
    found = {
        entry: in_order(one["labels"], one["answers"])
        for entry, one in mine.items()
        if "failed" not in one
    }
    reference = next(
        (
            probabilities
            for entry, probabilities in found.items()
            if (entry.adapter.package, entry.variant) == (OURS, REFERENCE)
        ),
        None,
    )
    rows = []
    for entry, one in mine.items():
        row = {"name": entry.name, **_facts(one)}
        if entry in found:
            row |= against_labels(found[entry], questions.labels, reference)
        rows.append(row)
    return rows


def _facts(one: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name not in _UNWANTED}


def shown_detectors(rows: list[dict[str, Any]]) -> str:
    columns = ["", "frames/s", "turns", "known faces found", "false boxes", "mean IoU"]
    columns += ["agreed faces of photos", "unconfirmed boxes", "start, s", "peak MiB", "install MB"]
    return table(columns, [_detector_cells(row, len(columns)) for row in rows])


def shown_classifiers(rows: list[dict[str, Any]]) -> str:
    columns = ["", "val %", "ECE %", "same label", "McNemar p", "faces/s", "turns"]
    columns += ["start, s", "peak MiB", "install MB"]
    return table(columns, [_classifier_cells(row, len(columns)) for row in rows])


def _named(row: dict[str, Any]) -> str:
    package, _, variant = row["name"].partition(", ")
    return f"{package} {row['version'] or ''}".strip() + f", {variant}"


def _failed(row: dict[str, Any], columns: int) -> list[str]:
    reason = row["failed"].split(" Consider ")[0].replace("|", "/")
    return [_named(row), f"not measured: {reason}", *[""] * (columns - 2)]


def _turns(row: dict[str, Any]) -> str:
    return f"{row['slowest_turn']:.4g} to {row['fastest_turn']:.4g}"


def _cost(row: dict[str, Any]) -> list[str]:
    size = row["install_mb"]
    return [f"{row['start_s']:.1f}", f"{row['peak_mib']}", "" if size is None else f"{size:,}"]


def _detector_cells(row: dict[str, Any], columns: int) -> list[str]:
    if "failed" in row:
        return _failed(row, columns)
    frames, photos = row["frames"], row["photos"]
    return [
        *(_named(row), f"{row['per_second']:.4g}", _turns(row)),
        *(f"{100 * frames['found']:.2f} %", f"{frames['false']}", f"{frames['mean_iou']:.2f}"),
        *(f"{100 * photos['found']:.2f} %", f"{photos['unconfirmed']}"),
        *_cost(row),
    ]


def _classifier_cells(row: dict[str, Any], columns: int) -> list[str]:
    if "failed" in row:
        return _failed(row, columns)
    same = f"{100 * row['same_label']:.1f} %" if "same_label" in row else ""
    p = f"{row['p']:.2g}" if "p" in row else ""
    return [
        *(_named(row), f"{100 * row['accuracy']:.2f} ± {100 * row['standard_error']:.2f}"),
        *(f"{100 * row['ece']:.1f}", same, p, f"{row['per_second']:,.4g}", _turns(row)),
        *_cost(row),
    ]
