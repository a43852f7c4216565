"""Robustness: how much accuracy is left on faces that a camera has spoilt."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter

from fer_edge import metrics
from fer_edge.artifact import FaultScore
from fer_edge.data import FaceDataset
from fer_edge.engines import Engine
from fer_edge.engines.base import Faces
from fer_edge.evaluation.scoring import Progress, classify

_OWN = 48
"""Side of the faces that blur is measured on; larger ones are blurred as much more."""


Spoil = Callable[[Image.Image, float, np.random.Generator], Image.Image]


def _blurred(plane: Image.Image, level: float, _: np.random.Generator) -> Image.Image:
    return plane.filter(ImageFilter.GaussianBlur(level * plane.width / _OWN))


def _dark(plane: Image.Image, level: float, _: np.random.Generator) -> Image.Image:
    return plane.point(lambda value: round(value * level))


def _small(plane: Image.Image, level: float, _: np.random.Generator) -> Image.Image:
    # As many pixels as a camera far away has of it, whatever the network takes.
    side = min(round(level), plane.width)
    small = plane.resize((side, side), Image.Resampling.BOX)
    return small.resize(plane.size, Image.Resampling.BICUBIC)


def _rotated(plane: Image.Image, level: float, _: np.random.Generator) -> Image.Image:
    # Cameras show more than the face: what turns into the picture goes on as its edge is.
    margin = plane.width // 2
    wide = Image.fromarray(np.pad(np.asarray(plane), margin, mode="edge"))
    turned = wide.rotate(level, Image.Resampling.BICUBIC)
    return turned.crop((margin, margin, margin + plane.width, margin + plane.height))


def _noisy(plane: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(plane) + rng.normal(0, level, (plane.height, plane.width))
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def _compressed(plane: Image.Image, level: float, _: np.random.Generator) -> Image.Image:
    file = BytesIO()
    plane.save(file, "JPEG", quality=round(level))
    return Image.open(file)


FAULTS: dict[str, tuple[Spoil, str, tuple[float, ...]]] = {
    "blurred": (_blurred, "px standard deviation", (0.75, 1.5, 2.5)),
    "dark": (_dark, "of the light", (0.5, 0.25, 0.1)),
    "small": (_small, "px a side", (24, 16, 12)),
    "rotated": (_rotated, "degrees", (10, 20, 30)),
    "noisy": (_noisy, "grey levels", (8, 16, 32)),
    "compressed": (_compressed, "JPEG quality", (30, 15, 8)),
}
"""What is done to a plane of the face, its unit, and three levels of it. A choice of the common
corruptions of Hendrycks and Dietterich 2019 (arXiv:1903.12261)."""


def spoil(faces: Faces, fault: str, level: float) -> Faces:
    """Faces with one fault, the same ones in every call.

    Parameters
    ----------
    faces : uint8 array, shape (N, size, size) or (N, channels, size, size)
        Is not changed.
    fault : str
        A key of :data:`FAULTS`.
    level : float
        In the fault's unit.
    """
    change = FAULTS[fault][0]
    rng = np.random.default_rng(0)
    planes = faces.reshape(-1, *faces.shape[-2:])
    spoilt = np.empty_like(planes)
    for index, plane in enumerate(planes):
        spoilt[index] = np.asarray(change(Image.fromarray(plane), level, rng))
    return spoilt.reshape(faces.shape)


def robustness(
    engine: Engine, dataset: FaceDataset, *, progress: Progress | None = None
) -> list[FaultScore]:
    """Score every fault of :data:`FAULTS` at its three levels.

    Parameters
    ----------
    engine : Engine
    dataset : FaceDataset
        Read for the engine's contract; not empty.
    progress : callable(done, total), optional
        Counts the faces of all levels.

    Raises
    ------
    InferenceError
        The engine failed, or returned NaN.
    """
    levels = [(name, level) for name, (_, _, levels) in FAULTS.items() for level in levels]
    found = []
    for place, (name, level) in enumerate(levels):
        faces = spoil(np.asarray(dataset.faces), name, level)
        predicted = classify(engine, faces).argmax(axis=1)
        matrix = metrics.confusion_matrix(dataset.labels, predicted, len(dataset.classes))
        accuracy = metrics.accuracy(matrix)
        found.append(FaultScore(fault=name, level=level, unit=FAULTS[name][1], accuracy=accuracy))
        if progress is not None:
            progress((place + 1) * len(faces), len(levels) * len(faces))
    return found
