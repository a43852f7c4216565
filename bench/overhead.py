"""How much time the runtime takes between the detector and the engine.

python bench/overhead.py --data fer2013.zip
"""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from recording import record, runtime_arguments, table
from simulation import Scene, recorded

from fer_edge import Camera, Recognizer
from fer_edge.data import load_dataset
from fer_edge.runtime import stream
from fer_edge.runtime.detection import RetinaFace
from fer_edge.runtime.smoothing import Smoother
from fer_edge.runtime.tracking import Tracker
from fer_edge.runtime.watch import watch

COUNTS = (1, 8)
TURNS = 4


class Clock:
    """Sums the seconds of what it wraps, by name."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    def __call__(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return work(*arguments)
            finally:
                self.spent[name] += time.perf_counter() - started

        return timed


def main() -> None:
    parser = runtime_arguments(__doc__, seconds=15.0)
    arguments = parser.parse_args()
    val = load_dataset(arguments.data, "val")
    rows = {}
    with Recognizer() as recognizer:
        ways: dict[str, Callable[..., Any]] = {
            "call": lambda faces, _: recognizer(faces).probabilities,
            "watch": lambda faces, live: recognizer._batcher.answer(faces, live=live).probabilities,
            "submit": lambda faces, _: recognizer.submit(faces).result().probabilities,
        }
        for count in COUNTS:
            frames = Scene(val.faces[:count]).recording(0.3)
            clocks = {way: Clock() for way in ways}
            seen = {way: [0, 0] for way in ways}
            watch_for(frames, ways["watch"], Clock(), 0.5)
            for _ in range(TURNS):
                for way, classify in ways.items():
                    seconds = arguments.seconds / TURNS / len(ways)
                    found = watch_for(frames, classify, clocks[way], seconds)
                    seen[way] = [a + b for a, b in zip(seen[way], found, strict=True)]
            for way in ways:
                rows[f"{count} faces, {way}"] = summary(clocks[way].spent, *seen[way])
        engine = recognizer.describe()
    record(arguments.out / "overhead.json", {"precision": engine.precision, "rows": rows})
    names = ["detector", "engine", "crop", "track", "smooth", "rest"]
    print(
        table(
            ["faces, way to the engine", "found", *(f"{name}, ms" for name in names), "own share"],
            [
                [
                    name,
                    f"{row['faces']:.2f}",
                    *(f"{row['ms'][part]:.3f}" for part in names),
                    f"{100 * row['share']:.1f} %",
                ]
                for name, row in rows.items()
            ],
        )
    )


def watch_for(
    frames: list[Any], classify: Callable[..., Any], clock: Clock, seconds: float
) -> tuple[int, int]:
    """Watch ``frames`` over and over; returns how many frames and faces were seen."""
    seen = faces = 0
    crop, update, smooth = stream.crop, Tracker.update, Smoother.update
    stream.crop = clock("crop", crop)
    Tracker.update = clock("track", update)  # type: ignore[method-assign]
    Smoother.update = clock("smooth", smooth)  # type: ignore[method-assign]
    try:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            detector = clock("detector", RetinaFace())
            with Camera(recorded(frames)) as camera:
                started = time.perf_counter()
                for moment in watch(clock("engine", classify), [camera], detector):
                    seen += 1
                    faces += len(moment.faces)
                clock.spent["all"] += time.perf_counter() - started
    finally:
        stream.crop, Tracker.update, Smoother.update = crop, update, smooth  # type: ignore[method-assign]
    return seen, faces


def summary(spent: dict[str, float], frames: int, faces: int) -> dict[str, Any]:
    work = spent["detector"] + spent["engine"]
    own = spent["all"] - work
    rest = own - spent["crop"] - spent["track"] - spent["smooth"]
    parts = {name: spent[name] for name in ("detector", "engine", "crop", "track", "smooth")}
    return {
        "frames": frames,
        "faces": faces / frames,
        "ms": {name: 1e3 * value / frames for name, value in (parts | {"rest": rest}).items()},
        "share": own / work,
    }


if __name__ == "__main__":
    main()
