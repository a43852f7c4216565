"""How faces are made smaller: what each way of Pillow's costs, in accuracy and in time.

python bench/resampling.py --data fer2013.zip --photos expressions.zip
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
from cropping import labelled_photos
from numpy.typing import NDArray
from PIL import Image as Pillow
from recording import record, runtime_arguments, table
from rich.progress import track

from fer_edge import Recognizer, metrics
from fer_edge.contract import FACE_SIZE
from fer_edge.data import load_dataset
from fer_edge.data.face_crop import find_face
from fer_edge.pixels.crops import crop_face

METHODS = ("LANCZOS", "HAMMING", "BILINEAR", "BOX")
SIDES = (60, 90, 132, 250)
"""Pixels that faces of FER2013 are enlarged to, before they are made smaller again."""
TIMED = 132


def main() -> None:
    parser = runtime_arguments(__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="expressions.zip")
    parser.add_argument("--limit", type=int, help="photos and faces, of each")
    arguments = parser.parse_args()
    photos = list(labelled_photos(arguments.photos))[: arguments.limit]
    val = load_dataset(arguments.data, "val")
    faces, labels = val.faces[: arguments.limit], val.labels[: arguments.limit]
    sets = {
        "photos": ([crop(photo) for photo, _ in track(photos, "Photos")], [e for _, e in photos])
    }
    for side in SIDES:
        sets[f"FER2013 from {side}x{side}"] = (
            [Pillow.fromarray(f).resize((side, side), Pillow.Resampling.BICUBIC) for f in faces],
            labels,
        )
    with Recognizer() as recognizer:

        def right(images: list[Pillow.Image], wanted: Any, method: str) -> NDArray[np.bool_]:
            small = np.stack([reduced(image, method) for image in images])
            return recognizer(small).labels == np.asarray(wanted)

        rows = {}
        for name, (images, wanted) in sets.items():
            found = {method: right(images, wanted, method) for method in METHODS}
            rows[name] = {
                method: {
                    "n": len(images),
                    "accuracy": float(hits.mean()),
                    "p": metrics.mcnemar_p(found["LANCZOS"], hits),
                }
                for method, hits in found.items()
            }
    cost = {method: microseconds(method) for method in METHODS}
    record(arguments.out / "resampling.json", {"sets": rows, "microseconds": cost})
    lines = [
        [
            method,
            *(
                f"{100 * row[method]['accuracy']:.2f}, {row[method]['p']:.2g}"
                for row in rows.values()
            ),
            f"{cost[method]:.0f}",
        ]
        for method in METHODS
    ]
    names = [f"{name}, n = {row['LANCZOS']['n']:,}" for name, row in rows.items()]
    print(table(["val %, p beside Lanczos", *names, f"us from {TIMED}x{TIMED}"], lines))


def crop(photo: Pillow.Image) -> Pillow.Image:
    box = find_face(photo)
    gray = photo.convert("L")
    return gray if box is None else crop_face(gray, box)


def reduced(image: Pillow.Image, method: str) -> NDArray[np.uint8]:
    return np.asarray(image.resize((FACE_SIZE, FACE_SIZE), Pillow.Resampling[method]))


def microseconds(method: str) -> float:
    noise = np.random.default_rng(0).integers(0, 256, (TIMED, TIMED), np.uint8)
    image = Pillow.fromarray(noise)
    spent = []
    for _ in range(1000):
        started = time.perf_counter()
        reduced(image, method)
        spent.append(time.perf_counter() - started)
    return 1e6 * float(np.median(spent))


if __name__ == "__main__":
    main()
