"""Packages that classify faces, on spoilt ones and on photos that our models have not seen.

    python -m bench.peers.robustness --data fer2013.zip --photos expressions.zip

Adapters, environments and answers are those of bench.peers; all are given the same pixels.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.frames import Image
from bench.peers.answers import Questions, ask_all, some_faces
from bench.peers.declared import Entry
from bench.peers.prepared import Prepared, free_cores, options
from bench.peers.scores import in_order
from bench.peers.tables import OURS
from bench.recording import record
from bench.robustness import held_out_photos, shown
from fer_edge.data import load_dataset
from fer_edge.evaluation.robustness import FAULTS, spoil
from fer_edge.metrics import standard_error


def main() -> None:
    arguments = options(__doc__, "peers-robustness.json").parse_args()
    made = Prepared.make(arguments.adapters, arguments.only, arguments.work)
    counts: dict[str, int] = {}
    rows: dict[Entry, dict[str, Any]] = {
        entry: {"version": made.facts[entry.adapter.name]["version"]}
        for entry in made.everything
        if entry.task == "classify"
    }
    for entry, row in rows.items():
        if entry.adapter.name in made.failed:
            row["failed"] = made.failed[entry.adapter.name]
    for fault, level, faces, labels in _conditions(arguments):
        print(f"{fault} {level or ''}", flush=True)
        if not level:
            counts[fault] = len(faces)
        questions = Questions.of_faces(faces, labels, arguments.work)
        asked = [entry for entry, row in rows.items() if "failed" not in row]
        answers = ask_all(asked, made.commands, questions, arguments.work, free_cores())
        for entry, answer in answers.items():
            _add(rows[entry], fault, level, answer, labels)
    classifiers = {entry.name: row for entry, row in rows.items()}
    record(arguments.out, {**counts, "classifiers": classifiers})
    measured = {
        name.removeprefix(f"{OURS}, "): row
        for name, row in classifiers.items()
        if "failed" not in row
    }
    print(shown(measured))


def _conditions(
    arguments: argparse.Namespace,
) -> Iterator[tuple[str, float, Image, NDArray[np.integer]]]:
    """Fault and level, or what the faces are and 0; the faces, and their labels."""
    faces, labels = some_faces(load_dataset(arguments.data, "val"), arguments.faces)
    yield "val", 0, faces, labels
    if arguments.photos:
        photos = held_out_photos(arguments.photos)
        yield "photos", 0, np.asarray(photos.faces), np.asarray(photos.labels)
    for fault, (_, _, levels) in FAULTS.items():
        for level in levels:
            yield fault, level, spoil(faces, fault, level), labels


def _add(
    row: dict[str, Any],
    fault: str,
    level: float,
    answer: dict[str, Any],
    labels: NDArray[np.integer],
) -> None:
    """What the answers are worth, or why there are none, as bench/robustness.py has it."""
    if "failed" in answer:
        row["failed"] = answer["failed"]
        return
    found = in_order(answer["labels"], answer["answers"]).argmax(axis=1)
    accuracy = float((found == labels).mean())
    if level:
        told = {"fault": fault, "level": level, "unit": FAULTS[fault][1], "accuracy": accuracy}
        row.setdefault("faults", []).append(told)
    else:
        row |= {fault: accuracy, f"{fault}_standard_error": standard_error(accuracy, len(labels))}


if __name__ == "__main__":
    main()
