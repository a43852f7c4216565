"""What crops as DeepStream's nvinfer makes them cost beside those of this package.

    python bench/deepstream.py --photos expressions.zip

nvinfer cuts out a detector's box as it is, and stretches it to the network's square, or pads it
with black. The crops are made here, by the same filters; DeepStream itself is not run.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cropping import labelled_photos
from numpy.typing import NDArray
from PIL import Image as Pillow
from recording import RESULTS, record, table
from rich.progress import track

from fer_edge import Recognizer, metrics
from fer_edge.data.face_crop import find_face
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_face, to_face

SIDE = 48
CROPS = {
    "own": "square of 1.1 mean sides, Hamming (this package)",
    "square_bilinear": "square of 1.1 mean sides, bilinear",
    "padded": "box, padded, bilinear (nvinfer, as it is configured)",
    "stretched": "box, stretched, bilinear",
    "stretched_nearest": "box, stretched, nearest pixel",
}
OWN = "own"
Pixels = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="expressions.zip")
    parser.add_argument("--limit", type=int, help="photos")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    photos = list(labelled_photos(options.photos))[: options.limit]
    crops: dict[str, list[Pixels]] = {}
    labels = []
    for photo, emotion in track(photos, "Faces"):
        box = find_face(photo)
        if box is None:
            continue
        labels.append(emotion)
        for name, face in faces_of(photo, box).items():
            crops.setdefault(name, []).append(face)
    truth = np.array(labels)
    with Recognizer() as recognizer:
        found = {name: recognizer(np.stack(own)).labels for name, own in crops.items()}
    own = found[OWN]
    rows: dict[str, Any] = {
        name: {
            "accuracy": float((given == truth).mean()),
            "as_own": float((given == own).mean()),
            "p": metrics.mcnemar_p(own == truth, given == truth),
        }
        for name, given in found.items()
    }
    share = rows[OWN]["accuracy"]
    rows[OWN]["standard_error"] = math.sqrt(share * (1 - share) / len(truth))
    record(options.out / "deepstream.json", {"n": len(truth), "rows": rows})
    lines = [
        [
            CROPS[name],
            f"{100 * row['accuracy']:.2f}",
            f"{100 * row['as_own']:.2f}",
            f"{row['p']:.2g}",
        ]
        for name, row in rows.items()
    ]
    print(table([f"n = {len(truth):,}", "accuracy, %", "same label, %", "McNemar's p"], lines))


def faces_of(photo: Pillow.Image, box: Box) -> dict[str, Pixels]:
    """A face as it is cropped in each way."""
    left, top = max(round(box.x), 0), max(round(box.y), 0)
    right = min(round(box.x + box.width), photo.width)
    bottom = min(round(box.y + box.height), photo.height)
    inside = np.asarray(photo)[top:bottom, left:right]
    around = crop_face(photo, box)
    size = (SIDE, SIDE)
    return {
        OWN: to_face(around),
        "square_bilinear": gray(cv2.resize(np.asarray(around), size)),
        "padded": gray(padded(inside)),
        "stretched": gray(cv2.resize(inside, size)),
        "stretched_nearest": gray(cv2.resize(inside, size, interpolation=cv2.INTER_NEAREST)),
    }


def padded(pixels: Pixels) -> Pixels:
    """In the middle of a black square, as large as fits."""
    height, width = pixels.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = cv2.resize(pixels, size)
    square = np.zeros((SIDE, SIDE, 3), np.uint8)
    left, top = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    square[top : top + size[1], left : left + size[0]] = small
    return square


def gray(pixels: Pixels) -> Pixels:
    return np.asarray(Pillow.fromarray(pixels).convert("L"))


if __name__ == "__main__":
    main()
