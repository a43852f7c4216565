"""Which square around a detected face the model knows best, and whether turning it upright helps.

python bench/cropping.py --data fer2013.zip --photos expressions.zip
"""

import csv
import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps
from recording import record, runtime_arguments, table
from retinaface import detect_faces
from rich.progress import track

from fer_edge import Recognizer, metrics
from fer_edge.data import load_dataset
from fer_edge.data.face_crop import find_face
from fer_edge.data.labels import emotion_label
from fer_edge.data.sources import open_source
from fer_edge.engines.base import Faces
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_face, to_face

SIDES = (0.9, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.45)
"""Of the mean side of the detected box."""
DEFAULT = 1.1
WIDE = 2.0
"""Of the square that a crop is cut from, in default squares."""

Photo = tuple[Pillow.Image, int]


def main() -> None:
    parser = runtime_arguments(__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="expressions.zip")
    parser.add_argument("--limit", type=int, help="photos and faces, of each")
    arguments = parser.parse_args()
    results = {}
    with Recognizer() as recognizer:

        def label(faces: Faces) -> NDArray[np.int64]:
            return recognizer(faces).labels

        photos = list(labelled_photos(arguments.photos))[: arguments.limit]
        results["photos of expressions.zip"] = sweep(label, photos)
        val = load_dataset(arguments.data, "val")
        framed = [on_canvas(face) for face in val.faces[: arguments.limit]]
        labels = val.labels[: arguments.limit].tolist()
        results["FER2013 val on a canvas"] = sweep(label, list(zip(framed, labels, strict=True)))
        direct = label(np.asarray(val.faces[: arguments.limit])) == labels
    results["FER2013 val on a canvas"]["as it is"] = float(direct.mean())
    record(arguments.out / "cropping.json", {"sides": SIDES, "sets": results})
    for name, found in results.items():
        print(f"\n{name}, n = {found['n']:,} (± {100 * error(found):.2f}), of {found['of']:,}\n")
        print(
            table(
                ["side", "as found", f"p beside {DEFAULT}", "turned upright", "p"],
                list(lines(found)),
            )
        )


def labelled_photos(path: Path) -> Iterator[Photo]:
    """Photos in RGB with labels of FER2013's emotions."""
    with open_source(path) as source:
        legend = next(name for name in source.members if name.endswith("legend.csv"))
        images = {Path(name).name: name for name in source.members}
        with source.open(legend) as stream:
            rows = list(csv.DictReader(io.TextIOWrapper(stream, "utf-8")))
        for row in rows:
            label = emotion_label(row["emotion"])
            if label is not None and row["image"] in images:
                with source.open(images[row["image"]]) as stream, Pillow.open(stream) as image:
                    yield ImageOps.exif_transpose(image).convert("RGB"), label


def on_canvas(face: NDArray[np.uint8]) -> Pillow.Image:
    """A face of 144 pixels; beyond it there is but gray, which flatters no wide crop."""
    canvas = Pillow.new("RGB", (288, 288), (110, 110, 110))
    canvas.paste(Pillow.fromarray(face).resize((144, 144), Pillow.Resampling.BICUBIC), (72, 72))
    return canvas


def sweep(label: Callable[[Faces], NDArray[np.int64]], photos: list[Photo]) -> dict[str, Any]:
    crops: dict[tuple[float, bool], list[NDArray[np.uint8]]] = {
        (side, upright): [] for side in SIDES for upright in (False, True)
    }
    labels, angles = [], []
    for photo, emotion in track(photos, "Faces"):
        box = find_face(photo)
        if box is None:
            continue
        wide = widened(box)
        angle = roll(crop_face_rgb(photo, wide))
        region = crop_face(photo.convert("L"), wide)
        turned = region.rotate(angle, Pillow.Resampling.BICUBIC)
        labels.append(emotion)
        angles.append(abs(angle))
        for (side, upright), own in crops.items():
            own.append(to_face(centre(turned if upright else region, side / DEFAULT / WIDE)))
    right = {key: label(np.stack(own)) == np.array(labels) for key, own in crops.items()}
    return {
        "n": len(labels),
        "of": len(photos),
        "median_roll_degrees": float(np.median(angles)),
        "rows": {
            f"{side}{', turned upright' * upright}": {
                "accuracy": float(own.mean()),
                "p": metrics.mcnemar_p(right[DEFAULT, False], own),
            }
            for (side, upright), own in right.items()
        },
    }


def widened(box: Box) -> Box:
    x, y = (WIDE - 1) / 2 * box.width, (WIDE - 1) / 2 * box.height
    return Box(box.x - x, box.y - y, WIDE * box.width, WIDE * box.height)


def crop_face_rgb(photo: Pillow.Image, box: Box) -> Pillow.Image:
    return Pillow.merge("RGB", [crop_face(channel, box) for channel in photo.split()])


def roll(region: Pillow.Image) -> float:
    """Degrees by which the line between the eyes is turned clockwise; 0 where no face is found."""
    found = detect_faces(np.asarray(region.resize((224, 224))), score_threshold=0.5)
    if not found:
        return 0.0
    left, right = max(found, key=lambda face: face.width).landmarks[:2]
    return math.degrees(math.atan2(right.y - left.y, right.x - left.x))


def centre(region: Pillow.Image, share: float) -> Pillow.Image:
    side = max(round(share * region.width), 1)
    corner = (region.width - side) // 2
    return region.crop((corner, corner, corner + side, corner + side))


def error(found: dict[str, Any]) -> float:
    p = found["rows"][str(DEFAULT)]["accuracy"]
    return math.sqrt(p * (1 - p) / found["n"])


def lines(found: dict[str, Any]) -> Iterator[list[str]]:
    for side in map(str, SIDES):
        cells = []
        for row in (found["rows"][side], found["rows"][f"{side}, turned upright"]):
            cells += [f"{100 * row['accuracy']:.2f} %", f"{row['p']:.2g}"]
        yield [side, *cells]
    if "as it is" in found:
        yield ["the face itself", f"{100 * found['as it is']:.2f} %", "", "", ""]


if __name__ == "__main__":
    main()
