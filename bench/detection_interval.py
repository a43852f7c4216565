"""What detecting every k-th frame saves and costs, and whether the k chosen holds the budget.

python bench/detection_interval.py --data fer2013.zip
"""

import itertools
import statistics
import time
from typing import Any

from recording import record, runtime_arguments, table
from rich.progress import track
from simulation import Scene, live, recorded

from fer_edge import Camera, Recognizer
from fer_edge.data import load_dataset
from fer_edge.runtime.moment import Moment
from fer_edge.runtime.tracking import iou

INTERVALS = (1, 2, 3, 4, 6, 8)
FACES = 4
SPEEDS = (60, 200)
"""Pixels a second, at most; a face has 120 pixels."""
CAMERAS = (1, 2, 4)
FOUND = 0.5
"""Overlap from which on a box counts as on its face."""


def main() -> None:
    parser = runtime_arguments(__doc__, seconds=10.0)
    arguments = parser.parse_args()
    val = load_dataset(arguments.data, "val")
    with Recognizer() as recognizer:
        quality = {}
        for speed in SPEEDS:
            frames = Scene(val.faces[:FACES], speed=speed).recording(arguments.seconds)
            reference: list[Moment] = []
            for every in track(INTERVALS, f"{speed} pixels a second"):
                started = time.perf_counter()
                with Camera(recorded(frames)) as camera:
                    moments = list(recognizer.watch(camera, detect_every=every))
                spent = (time.perf_counter() - started) / len(moments)
                reference = reference or moments
                quality[f"{speed} pixels a second, k = {every}"] = {
                    "ms": 1e3 * spent,
                    **compare(reference, moments),
                }
        budget = {}
        for count in CAMERAS:
            scenes = [Scene(val.faces[i : i + 2], seed=i).recording(2) for i in range(count)]
            budget[count] = keep_up(recognizer, scenes, arguments.seconds)
    record(arguments.out / "detection-interval.json", {"quality": quality, "budget": budget})
    print(
        table(
            ["detection", "ms a frame", "overlap with k = 1", "faces missed", "same label"],
            [
                [
                    name,
                    f"{row['ms']:.1f}",
                    f"{row['overlap']:.3f}",
                    f"{100 * row['missed']:.2f} %",
                    f"{100 * row['same_label']:.1f} %",
                ]
                for name, row in quality.items()
            ],
        )
    )
    print()
    print(
        table(
            ["live cameras, 30 fps", "k, mean", "frames seen", "age p50, ms"],
            [
                [
                    str(count),
                    f"{row['every']:.1f}",
                    f"{100 * row['seen']:.1f} %",
                    f"{row['age_ms']:.1f}",
                ]
                for count, row in budget.items()
            ],
        )
    )


def compare(reference: list[Moment], moments: list[Moment]) -> dict[str, float]:
    """Faces of ``moments`` beside those that detection in every frame gives."""
    overlaps, same = [], 0
    for true, found in zip(reference, moments, strict=True):
        for face in true.faces:
            best = max(found.faces, key=lambda one, box=face.box: iou(one.box, box), default=None)
            overlaps.append(0.0 if best is None else iou(best.box, face.box))
            same += best is not None and overlaps[-1] >= FOUND and best.label == face.label
    hits = [overlap for overlap in overlaps if overlap >= FOUND]
    return {
        "overlap": statistics.mean(hits),
        "missed": 1 - len(hits) / len(overlaps),
        "same_label": same / len(hits),
    }


def keep_up(recognizer: Recognizer, scenes: list[Any], seconds: float) -> dict[str, float]:
    """Live cameras with the k that the runtime chooses; the first second counts for nothing."""
    cameras = [Camera(live(frames, f"camera {i}")) for i, frames in enumerate(scenes)]
    try:
        begin = time.monotonic() + 1
        moments = [
            moment
            for moment in itertools.takewhile(
                lambda moment: moment.finished < begin + seconds, recognizer.watch(cameras)
            )
            if moment.finished > begin
        ]
    finally:
        for camera in cameras:
            camera.close()
    offered = sum(
        own[-1].frame.index - own[0].frame.index + 1
        for camera in cameras
        if (own := [moment for moment in moments if moment.frame.source == camera.name])
    )
    detected = sum(any(face.score is not None for face in moment.faces) for moment in moments)
    return {
        "every": len(moments) / max(detected, 1),
        "seen": len(moments) / offered,
        "age_ms": statistics.median(moment.age_ms for moment in moments),
    }


if __name__ == "__main__":
    main()
