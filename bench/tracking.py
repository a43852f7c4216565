"""Who keeps faces apart: our tracker and well-kept ones, where faces cross and hide each other.

pip install trackers
python -m bench.tracking --data fer2013.zip

The boxes that trackers get are simulated, with the errors of a detector: those that have been
assumed from the first recording on, and those that the default detector makes on moving faces.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import supervision
import trackers

from bench.frames import ON_FACE, as_found
from bench.recording import record, runtime_arguments, table
from bench.simulation import FPS, HEIGHT, WIDTH, Scene
from fer_edge.data import load_dataset
from fer_edge.evaluation.detections import match
from fer_edge.pixels.boxes import Box
from fer_edge.runtime import RetinaFace
from fer_edge.runtime.tracking import Tracker, iou

INTERVALS = (1, 3, 6)
"""Frames from one detection to the next."""


@dataclass(frozen=True)
class Errors:
    """What a detector does wrong."""

    missed: float
    """Share of faces that it overlooks without a reason."""
    wrong: float
    """Share of frames with a detection that is no face."""
    jitter: float
    """Standard deviation of a box's place and size, in sides."""


ASSUMED = Errors(missed=0.03, wrong=0.02, jitter=0.03)

Track = Callable[[list[Box], float], list[int | None]]


def main() -> None:
    parser = runtime_arguments(__doc__)
    parser.add_argument("--videos", type=int, default=30, help="of 30 s each")
    arguments = parser.parse_args()
    measured = errors_of(RetinaFace(), load_dataset(arguments.data, "val").faces)
    result: dict[str, Any] = {"videos": arguments.videos}
    for name, errors in (("assumed", ASSUMED), ("detector", measured)):
        result[name] = {"errors": asdict(errors), "rows": compared(errors, arguments.videos)}
    record(arguments.out / "tracking.json", result)
    print(measured)
    print(
        table(
            [
                "detection, tracker",
                *(
                    f"{what}, {of}"
                    for of in ("assumed", "detector")
                    for what in ("switches a minute", "unnamed")
                ),
                "ms a frame",
            ],
            [
                [
                    name,
                    *(
                        cell
                        for of in ("assumed", "detector")
                        for cell in shown(result[of]["rows"][name])
                    ),
                    f"{row['ms']:.3f}",
                ]
                for name, row in result["detector"]["rows"].items()
            ],
        )
    )


def shown(row: dict[str, float]) -> list[str]:
    return [f"{row['switches_per_minute']:.2f}", f"{100 * row['unnamed']:.1f} %"]


def compared(errors: Errors, videos: int) -> dict[str, dict[str, float]]:
    """All trackers on videos of a detector with such errors."""
    rows = {}
    for every in INTERVALS:
        rate = FPS / every
        peers = {
            "fer-edge": ours,
            "ByteTrack": lambda rate=rate: theirs(trackers.ByteTrackTracker, rate),
            "OC-SORT": lambda rate=rate: theirs(trackers.OCSORTTracker, rate),
            "SORT": lambda rate=rate: theirs(trackers.SORTTracker, rate),
        }
        for name, make in peers.items():
            scores = [score(make(), video(seed, every, errors)) for seed in range(videos)]
            rows[f"every {every}, {name}"] = combined(scores)
    return rows


def errors_of(detector: RetinaFace, faces: Any, scenes: int = 12, frames: int = 40) -> Errors:
    """Of a detector, on moving faces of which the places are known.

    Boxes jitter about a mean place of their own on each face, as detectors frame faces otherwise.
    """
    rng = np.random.default_rng(0)
    known = missed = wrong = 0
    spread = []
    for seed in range(scenes):
        chosen = rng.choice(len(faces), int(rng.integers(1, 9)), replace=False)
        scene = Scene(faces[chosen], seed=seed)
        off: dict[int, list[Any]] = {}
        for i in range(frames):
            places = scene.places(i / FPS)
            truth, _ = as_found([(*box, 1.0 - j / 100) for j, box in enumerate(places)])
            boxes, _ = as_found([(*one.box, one.score) for one in detector(scene.frame(i / FPS))])
            covered = match(boxes, truth, ON_FACE)
            known += len(truth)
            missed += len(truth) - int((covered >= 0).sum())
            wrong += bool((covered < 0).any())
            for box, face in zip(boxes, covered, strict=True):
                if face >= 0:
                    side = truth[face][2] - truth[face][0]
                    place = (box[:2] + box[2:] - truth[face][:2] - truth[face][2:]) / 2
                    size = (box[2:] - box[:2]) - (truth[face][2:] - truth[face][:2])
                    off.setdefault(int(face), []).append(np.concatenate([place, size]) / side)
        spread += [np.array(one) - np.mean(one, axis=0) for one in off.values()]
    jitter = float(np.concatenate(spread).std())
    return Errors(round(missed / known, 4), round(wrong / (scenes * frames), 4), round(jitter, 4))


def video(seed: int, every: int, errors: Errors) -> list[tuple[float, list[Box], list[int | None]]]:
    """Time, boxes found and whose they are (None: nobody's), of 30 s with 2 to 6 people.

    They cross the picture at walking pace, turn at its border, and hide whoever is behind them.
    """
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    sides = rng.uniform(60, 160, n)
    places = rng.uniform([0, 0], [WIDTH, HEIGHT], (n, 2))
    speeds = rng.uniform([-150, -30], [150, 30], (n, 2))
    frames = []
    for i in range(30 * FPS):
        speeds += rng.normal(0, 8, (n, 2))
        places += speeds / FPS
        for axis, limit in enumerate((WIDTH, HEIGHT)):
            outside = (places[:, axis] < 0) | (places[:, axis] > limit)
            inwards = np.where(places[:, axis] < 0, 1, -1)
            speeds[outside, axis] = (inwards * np.abs(speeds[:, axis]))[outside]
        if i % every:
            continue
        true = [Box(*(p - s / 2), s, s) for p, s in zip(places, sides, strict=True)]
        boxes: list[Box] = []
        people: list[int | None] = []
        for person in range(n):
            hidden = any(
                sides[other] > sides[person] and covered(true[person], true[other]) > 0.5
                for other in range(n)
            )
            if hidden or rng.random() < errors.missed:
                continue
            x, y, w, h = rng.normal(0, errors.jitter * sides[person], 4)
            box = true[person]
            boxes.append(Box(box.x + x, box.y + y, box.width + w, box.height + h))
            people.append(person)
        if rng.random() < errors.wrong:
            boxes.append(Box(*rng.uniform([0, 0, 30, 30], [WIDTH, HEIGHT, 90, 90])))
            people.append(None)
        order = rng.permutation(len(boxes))
        frames.append((i / FPS, [boxes[j] for j in order], [people[j] for j in order]))
    return frames


def covered(box: Box, by: Box) -> float:
    """Share of ``box``."""
    shared = iou(box, by)
    area = box.width * box.height
    return shared / (1 + shared) * (area + by.width * by.height) / area


def ours() -> Track:
    return Tracker().update


def theirs(kind: type[Any], rate: float) -> Track:
    """At their defaults; a second's memory, as ours."""
    tracker = kind(lost_track_buffer=30, frame_rate=rate)

    def update(boxes: list[Box], _: float) -> list[int | None]:
        found: list[int | None] = [None] * len(boxes)
        corners = [(b.x, b.y, b.x + b.width, b.y + b.height) for b in boxes]
        detections = supervision.Detections(
            xyxy=np.array(corners, np.float32).reshape(-1, 4),
            confidence=np.full(len(boxes), 0.9, np.float32),
            class_id=np.zeros(len(boxes), int),
            data={"index": np.arange(len(boxes))},
        )
        tracked = tracker.update(detections)
        if len(tracked):
            for index, number in zip(tracked.data["index"], tracked.tracker_id, strict=True):
                found[int(index)] = int(number) if number >= 0 else None
        return found

    return update


def score(track: Track, frames: list[tuple[float, list[Box], list[int | None]]]) -> dict[str, Any]:
    known: dict[int, int] = {}
    switches = unnamed = faces = 0
    spent = 0.0
    for seconds, boxes, people in frames:
        started = time.perf_counter()
        numbers = track(boxes, seconds)
        spent += time.perf_counter() - started
        for person, number in zip(people, numbers, strict=True):
            if person is None:
                continue
            faces += 1
            if number is None:
                unnamed += 1
                continue
            switches += known.get(person, number) != number
            known[person] = number
    people_minutes = len(known) * 0.5
    return {
        "switches": switches,
        "people_minutes": people_minutes,
        "unnamed": unnamed,
        "faces": faces,
        "ms": 1e3 * spent / len(frames),
    }


def combined(scores: list[dict[str, Any]]) -> dict[str, float]:
    total = {name: sum(one[name] for one in scores) for name in scores[0]}
    return {
        "switches_per_minute": total["switches"] / total["people_minutes"],
        "unnamed": total["unnamed"] / total["faces"],
        "ms": total["ms"] / len(scores),
    }


if __name__ == "__main__":
    main()
