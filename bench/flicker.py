"""How often labels change with and without smoothing, and what smoothing costs.

python bench/flicker.py --data fer2013.zip
"""

import itertools
import math
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from recording import record, runtime_arguments, table
from rich.progress import track
from simulation import FPS, Scene, enlarged, recorded

from fer_edge import Camera, Recognizer
from fer_edge.data import FaceDataset, load_dataset
from fer_edge.runtime.capture.base import Image
from fer_edge.runtime.smoothing import Smoother
from fer_edge.runtime.tracking import iou

PEOPLE = 4
HOLD = 2.0
"""Seconds for which a person shows an expression; then another face of FER2013 takes its place."""
NOISE = 8.0
"""Standard deviation of a pixel, in gray levels."""
LIGHT = 0.25
"""Amplitude of the brightness, in its mean; it swings every 0.7 s."""
SECONDS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2)
MARGINS = (0.0, 0.1, 0.2)
DEFAULT = (0.2, 0.2)


class Sight(NamedTuple):
    """A person in a frame."""

    seconds: float
    part: int
    """Counts the expressions shown."""
    truth: int
    raw: NDArray[np.float32]


def main() -> None:
    parser = runtime_arguments(__doc__, seconds=30.0)
    parser.add_argument("--seeds", type=int, default=5, help="videos, of other faces and noise")
    arguments = parser.parse_args()
    val = load_dataset(arguments.data, "val")
    parts = math.ceil(arguments.seconds / HOLD)
    videos, direct, found = [], [], []
    with Recognizer() as recognizer:
        for seed in range(arguments.seeds):
            rng = np.random.default_rng(seed)
            chosen = rng.choice(len(val), (parts, PEOPLE), replace=False)
            shown = recognizer(val.faces[chosen.ravel()]).labels
            direct.append(float((shown == val.labels[chosen.ravel()]).mean()))
            people, seen = watch_people(recognizer, val, chosen, seed)
            videos.append(people)
            found.append(seen)
    rows = [
        {"seconds": seconds, "margin": margin}
        | summary([score(people, seconds, margin) for people in videos])
        for margin, seconds in itertools.product(MARGINS, SECONDS)
    ]
    result = {
        "people": PEOPLE,
        "videos": arguments.seeds,
        "video_seconds": parts * HOLD,
        "found": statistics.mean(found),
        "accuracy_of_the_faces_themselves": statistics.mean(direct),
        "changes_of_expression_per_second": (parts - 1) / (parts * HOLD),
        "rows": rows,
    }
    record(arguments.out / "flicker.json", result)
    plot(result, arguments.out / "flicker.png")
    print(
        table(
            ["smoothing, s; margin", "label changes/s", "accuracy, %", "lag, s"],
            [
                [
                    f"{row['seconds']:g}; {row['margin']:g}",
                    spread(row, "changes_per_second", 2),
                    spread(row, "accuracy", 1, 100),
                    spread(row, "lag", 2),
                ]
                for row in rows
            ],
        )
    )


def summary(scores: list[dict[str, float]]) -> dict[str, float]:
    """Mean over the videos and, under ``NAME_sd``, standard deviation."""
    found = {name: [one[name] for one in scores] for name in scores[0]}
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return means | {f"{name}_sd": float(np.std(values)) for name, values in found.items()}


def spread(row: dict[str, float], name: str, digits: int, scale: float = 1) -> str:
    return f"{scale * row[name]:.{digits}f} ± {scale * row[f'{name}_sd']:.{digits}f}"


def watch_people(
    recognizer: Recognizer, val: FaceDataset, chosen: NDArray[np.int64], seed: int
) -> tuple[list[list[Sight]], float]:
    """What is seen of each person, and the share of sights in which the face was found."""
    scene = Scene(val.faces[chosen[0]], seed=seed)
    rng = np.random.default_rng(1 + seed)
    grain = rng.normal(0, NOISE, (480, 640, 1)).astype(np.float32)
    count = round(len(chosen) * HOLD * FPS)

    def frames() -> Any:
        for i in range(count):
            seconds = i / FPS
            scene.faces = [enlarged(val.faces[face]) for face in chosen[int(seconds / HOLD)]]
            yield spoiled(scene.frame(seconds), seconds, grain, rng)

    people: list[list[Sight]] = [[] for _ in range(PEOPLE)]
    with Camera(recorded(frames())) as camera:
        for moment in track(recognizer.watch(camera), f"Video {seed}", total=count):
            seconds = moment.frame.index / FPS
            part = int(seconds / HOLD)
            for person, place in enumerate(scene.places(seconds)):
                faces = [f for f in moment.faces if f.seen and iou(f.box, place) > 0.3]
                if faces:
                    truth = int(val.labels[chosen[part, person]])
                    people[person].append(Sight(seconds, part, truth, faces[0].raw))
    return people, sum(map(len, people)) / (count * PEOPLE)


def spoiled(image: Image, seconds: float, grain: Any, rng: np.random.Generator) -> Image:
    light = 1 + LIGHT * math.sin(2 * math.pi * seconds / 0.7)
    noise = np.roll(grain, tuple(rng.integers(0, 480, 2)), (0, 1))
    return np.clip(light * image + noise, 0, 255).astype(np.uint8)


def score(people: list[list[Sight]], seconds: float, margin: float) -> dict[str, float]:
    changes = right = sights = 0
    lags = []
    for own in people:
        smoother = Smoother(seconds=seconds, margin=margin)
        labels = [smoother.update(0, sight.raw, sight.seconds)[1] for sight in own]
        changes += sum(a != b for a, b in itertools.pairwise(labels))
        right += sum(label == sight.truth for label, sight in zip(labels, own, strict=True))
        sights += len(own)
        lags += lags_of(labels, own)
    return {
        "changes_per_second": changes / (sights / FPS),
        "accuracy": right / sights,
        "lag": statistics.median(lags) if lags else math.nan,
    }


def lags_of(labels: list[int], sights: list[Sight]) -> list[float]:
    """Seconds from each new expression until the label is what the model mostly sees in it."""
    lags = []
    before = None
    for _, group in itertools.groupby(zip(labels, sights, strict=True), lambda x: x[1].part):
        shown = list(group)
        goal = statistics.mode(int(sight.raw.argmax()) for _, sight in shown)
        start = shown[0][1].part * HOLD
        # An expression that is taken for the one before has no beginning.
        if before not in (None, goal):
            lags.append(next((s.seconds - start for label, s in shown if label == goal), HOLD))
        before = goal
    return lags


def plot(result: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for margin in MARGINS:
        rows = [row for row in result["rows"] if row["margin"] == margin]
        lag = [row["lag"] for row in rows]
        left.plot(lag, [r["changes_per_second"] for r in rows], "o-", label=f"margin {margin:g}")
        right.plot(lag, [100 * row["accuracy"] for row in rows], "o-", label=f"margin {margin:g}")
    shown = result["changes_of_expression_per_second"]
    left.axhline(shown, color="black", linestyle=":", label="expressions shown")
    (default,) = [row for row in result["rows"] if (row["seconds"], row["margin"]) == DEFAULT]
    left.plot(default["lag"], default["changes_per_second"], "k*", markersize=14, label="default")
    right.plot(default["lag"], 100 * default["accuracy"], "k*", markersize=14)
    left.set(xlabel="median lag, s", ylabel="label changes a second", ylim=(0, None))
    right.set(xlabel="median lag, s", ylabel="right labels, %")
    left.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
