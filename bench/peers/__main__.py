"""FER-Edge and other packages on the same frames and faces, one core each, in one run.

    python -m bench.peers --data fer2013.zip --photos expressions.zip --out bench/results/peers.json

Each package has an adapter in bench/peers/adapters, an environment of its own in --work, made with
the versions that bench/peers/locks has, and a process of its own. All answer for all frames and
faces first, two at a time; then they are timed in turn, on one core. Answers are kept in --work
and asked for again where an adapter or its versions changed.
"""

from typing import Any

from bench.peers.answers import Questions, ask_all
from bench.peers.declared import Entry
from bench.peers.picture import plot
from bench.peers.prepared import Prepared, free_cores, options
from bench.peers.tables import classifier_rows, detector_rows, shown_classifiers, shown_detectors
from bench.peers.timing import time_all
from bench.recording import record


def main() -> None:
    parser = options(__doc__, "peers.json")
    parser.add_argument("--frames", type=int, default=100, help="and at most so many photos")
    parser.add_argument("--timed", type=int, default=60, help="frames that are timed; faces: ten")
    arguments = parser.parse_args()
    made = Prepared.make(arguments.adapters, arguments.only, arguments.work)
    questions = Questions.make(arguments)
    cores = free_cores()
    answers = ask_all(made.rows, made.commands, questions, arguments.work, cores)
    able = [entry for entry in made.rows if "failed" not in answers[entry]]
    times = time_all(able, made.commands, questions, arguments.work, cores[-1], arguments.timed)
    told = {
        entry: made.facts[entry.adapter.name] | _outcome(entry, made.failed, answers, times)
        for entry in made.everything
    }
    detectors = detector_rows(told, questions)
    classifiers = classifier_rows(told, questions)
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
