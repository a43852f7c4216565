"""FER-Edge and other packages on the same frames and faces, one core each, in one run.

    python -m bench.peers --data fer2013.zip --photos expressions.zip --out bench/results/peers.json

Each package has an adapter in bench/peers/adapters, an environment of its own in --work, made with
the versions that bench/peers/locks has, and a process of its own. All answer for all frames and
faces first, two at a time; then they are timed in turn, on one core. Answers are kept in --work
and asked for again where an adapter or its versions changed.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from bench.peers.answers import Questions, ask_all
from bench.peers.declared import Entry, entries, read_adapters
from bench.peers.environments import EnvironmentFailedError, command, make, size_mb, version
from bench.peers.picture import plot
from bench.peers.tables import classifier_rows, detector_rows, shown_classifiers, shown_detectors
from bench.peers.timing import time_all
from bench.recording import RESULTS, record

ADAPTERS = Path(__file__).parent / "adapters"
ROOT = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="FER2013")
    parser.add_argument("--photos", type=Path, help="zip of photos with faces")
    parser.add_argument("--out", type=Path, default=RESULTS / "peers.json", help="result")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "peers", help="environments")
    parser.add_argument("--adapters", type=Path, default=ADAPTERS, help="folder of adapters")
    parser.add_argument("--only", nargs="+", help="names of adapters")
    parser.add_argument("--frames", type=int, default=100, help="and at most so many photos")
    parser.add_argument("--faces", type=int, help="so many of val only, at random")
    parser.add_argument("--timed", type=int, default=60, help="frames that are timed; faces: ten")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    adapters = read_adapters(arguments.adapters, arguments.only)
    failed: dict[str, str] = {}
    commands: dict[str, list[str]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for adapter in adapters:
        print(f"{adapter.name}: environment", flush=True)
        folder = None
        try:
            folder = make(adapter, arguments.work / "environments")
        except EnvironmentFailedError as error:
            failed[adapter.name] = f"does not install: {error}"
        commands[adapter.name] = command(adapter, folder)
        size = size_mb(folder)
        facts[adapter.name] = {
            "version": version(adapter),
            "licence": adapter.licence,
            "install_mb": size and round(size),
        }
    everything = entries(adapters)
    rows = [entry for entry in everything if entry.adapter.name not in failed]
    questions = Questions.make(arguments)
    cores = sorted(os.sched_getaffinity(0))
    answers = ask_all(rows, commands, questions, arguments.work, cores)
    able = [entry for entry in rows if "failed" not in answers[entry]]
    times = time_all(able, commands, questions, arguments.work, cores[-1], arguments.timed)
    told = {
        entry: facts[entry.adapter.name] | _outcome(entry, failed, answers, times)
        for entry in everything
    }
    detectors = detector_rows(told, questions)
    classifiers = classifier_rows(told, questions)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    counts = {"frames": len(questions.frames), "photos": len(questions.photos)}
    counts |= {"known_faces": sum(map(len, questions.truth)), "val_faces": len(questions.labels)}
    record(arguments.out, {**counts, "detectors": detectors, "classifiers": classifiers})
    plot(detectors, classifiers, arguments.out.with_suffix(".png"))
    print(shown_detectors(detectors), shown_classifiers(classifiers), sep="\n\n")


def _outcome(
    entry: Entry,
    failed: dict[str, str],
    answers: dict[Entry, dict[str, Any]],
    times: dict[Entry, dict[str, Any]],
) -> dict[str, Any]:
    """What a row came to: answers and times, or the error."""
    if entry.adapter.name in failed:
        return {"failed": failed[entry.adapter.name]}
    return answers[entry] | times.get(entry, {})


if __name__ == "__main__":
    main()
