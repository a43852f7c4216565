"""Frames of real faces in known places, photos, and how well boxes cover the faces in them."""

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from bench.simulation import Scene
from fer_edge.evaluation.detections import Boxes, Found, match, overlaps

Image = NDArray[np.uint8]

LARGEST = (640, 480)
"""Photos are scaled down to it, as cameras have it."""
ON_FACE = 0.3
"""Intersection over union from which a box is on a known face: detectors frame faces otherwise."""


def as_found(rows: Sequence[Sequence[float]]) -> Found:
    """Of rows of x, y, width, height and score, the surest first."""
    values = np.array(sorted(rows, key=lambda row: -row[4]), np.float32).reshape(-1, 5)
    values[:, 2:4] += values[:, :2]
    return values[:, :4], values[:, 4]


def scenes(faces: Image, count: int) -> tuple[list[Image], list[Boxes]]:
    """Frames of one to eight faces, and where these are."""
    rng = np.random.default_rng(0)
    frames, truth = [], []
    for seed in range(count):
        chosen = rng.choice(len(faces), int(rng.integers(1, 9)), replace=False)
        scene, moment = Scene(faces[chosen], seed=seed), float(rng.uniform(0, 10))
        frames.append(scene.frame(moment))
        truth.append(as_found([(*box, 1.0) for box in scene.places(moment)])[0])
    return frames, truth


def read_photos(path: Path, count: int) -> Iterator[Image]:
    """BGR, no larger than 640x480."""
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.lower().endswith((".jpg", ".jpeg", ".png"))]
        for name in sorted(np.random.default_rng(0).permutation(sorted(names))[:count]):
            with Pillow.open(io.BytesIO(archive.read(str(name)))) as picture:
                rgb = picture.convert("RGB")
            rgb.thumbnail(LARGEST, Pillow.Resampling.BILINEAR)
            yield np.ascontiguousarray(np.asarray(rgb)[..., ::-1])


def against_known(found: Sequence[Found], truth: Sequence[Boxes]) -> dict[str, float]:
    """Known faces, the share found, boxes on none of them, and how well boxes cover the found."""
    covered = [match(boxes, faces, ON_FACE) for (boxes, _), faces in zip(found, truth, strict=True)]
    shares = [
        float(overlaps(boxes[[i]], faces[[face]])[0, 0])
        for (boxes, _), faces, chosen in zip(found, truth, covered, strict=True)
        for i, face in enumerate(chosen)
        if face >= 0
    ]
    faces = sum(map(len, truth))
    return {
        "faces": faces,
        "found": round(len(shares) / max(faces, 1), 4),
        "false": sum(int((one < 0).sum()) for one in covered),
        "mean_iou": round(float(np.mean(shares)), 3) if shares else 0.0,
    }
