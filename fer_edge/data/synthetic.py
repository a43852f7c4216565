"""Made-up faces with seven expressions, for tests and for trying things without data."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import EMOTIONS, FER2013, Contract
from fer_edge.data.dataset import FaceDataset
from fer_edge.data.labels import SPLITS, Split
from fer_edge.data.relabel import relabel
from fer_edge.errors import UsageError

Plane = NDArray[np.floating[Any]]

# Units of the face: x from -1 to 1 over the width of the head, y downwards from between eyes and
# nose. Rows after the first are what a full expression adds to the neutral face.
_MOVES: Final = (
    "brow_inner",  # height of the inner end, down positive
    "brow_outer",  # height of the outer end
    "eye",  # half opening
    "corner",  # height of the mouth's corners over its middle
    "width",  # half width of the mouth
    "upper",  # lift of the upper lip
    "lower",  # drop of the lower lip
    "fold",  # depth of the fold from nose to mouth
    "wrinkle",  # depth of wrinkles on the nose
    "frown",  # depth of the lines between the brows
)
_NEUTRAL: Final = (-0.50, -0.50, 0.095, 0.00, 0.30, 0.010, 0.010, 0.05, 0.0, 0.05)
_EXPRESSIONS: Final = {
    "angry": (0.15, -0.04, -0.02, -0.06, -0.04, 0.02, 0.03, 0.10, 0.2, 0.75),
    "disgust": (0.08, 0.05, -0.05, -0.07, -0.03, 0.07, 0.02, 0.55, 0.8, 0.20),
    "fear": (-0.15, -0.02, 0.06, -0.04, 0.09, 0.04, 0.08, 0.05, 0.0, 0.25),
    "happy": (0.00, 0.00, -0.04, 0.16, 0.11, 0.04, 0.09, 0.55, 0.0, 0.00),
    "sad": (-0.13, 0.06, -0.04, -0.13, -0.03, 0.00, 0.00, 0.10, 0.0, 0.25),
    "surprise": (-0.15, -0.15, 0.07, 0.00, -0.11, 0.08, 0.20, 0.00, 0.0, 0.00),
    "neutral": (0.0,) * len(_MOVES),
}
_SPREAD: Final = (0.03, 0.03, 0.012, 0.022, 0.03, 0.012, 0.015, 0.10, 0.1, 0.10)
_CHUNK: Final = 64  # keeps the planes of a chunk in the processor's cache


def synthetic_dataset(
    n: int, seed: int = 0, split: Split = "train", *, contract: Contract = FER2013
) -> FaceDataset:
    """Render ``n`` faces, every expression equally often, in random order.

    Expressions differ in the facial action units that Ekman and Friesen give for them, at an
    intensity from a trace to full; identity, pose, light, contrast, sharpness, noise, glasses,
    beards and occlusions vary independently of them.

    Parameters
    ----------
    n : int
        At least 1.
    seed : int
        Not negative. The same ``n``, ``seed`` and ``split`` give the same faces.
    split : {"train", "val", "test"}
        Splits of one seed are different faces from one distribution.
    contract : Contract
        Whose size and colour the faces have, which are gray in three channels, too, and whose
        labels they get.

    Raises
    ------
    UsageError
        ``n``, ``seed`` or ``split`` is none of these.

    References
    ----------
    Ekman and Friesen, "Facial Action Coding System", Consulting Psychologists Press, 1978.
    """
    if n < 1 or seed < 0 or split not in SPLITS:
        raise UsageError(
            f"There are no {n} synthetic faces of seed {seed} and split {split!r}.",
            hint=f"Ask for at least 1, seed 0 or more, split {', '.join(SPLITS)}.",
        )
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    labels = rng.permutation(np.arange(n, dtype=np.int64) % len(EMOTIONS))
    faces = np.concatenate(
        [_render(labels[i : i + _CHUNK], rng, contract.size) for i in range(0, n, _CHUNK)],
        dtype=np.uint8,
    )
    if contract.channels > 1:
        faces = np.repeat(faces[:, None], contract.channels, axis=1)
    names = np.array([f"face {i}" for i in range(n)])
    data = FaceDataset.from_arrays(faces, labels, split, names=names)
    return relabel(data, contract.labels)


def _render(labels: NDArray[np.int64], rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    n = len(labels)

    def uniform(low: float, high: float) -> Plane:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    def sometimes(share: float) -> Plane:
        return (rng.random((n, 1, 1)) < share).astype(np.float32)

    moves = _moves(labels, rng)
    soft = uniform(0.05, 0.13)
    x, y = _pose(uniform, size)
    radius_x, radius_y = uniform(0.80, 0.94), uniform(1.08, 1.25)
    # Turning the head shifts what lies on it.
    turn = uniform(-0.16, 0.16)
    fx, fy = x - turn, y - uniform(-0.06, 0.06)
    side = np.abs(fx)
    skin, hair = uniform(95, 215), uniform(10, 110)

    canvas = np.clip(uniform(10, 245) + uniform(-60, 60) * x + uniform(-60, 60) * y, 0, 255)

    def paint(mask: Plane, tone: Plane | float) -> None:
        canvas[...] += mask * (tone - canvas)

    def inside(distance: Plane) -> Plane:
        return np.clip(0.5 - distance / soft, 0, 1)

    def stroke(distance: Plane, thickness: Plane | float) -> Plane:
        return inside(np.abs(distance) - thickness)

    head = np.sqrt((x / radius_x) ** 2 + (y / radius_y) ** 2)
    paint(inside(np.hypot(x / (radius_x + 0.1), (y + 0.15) / (radius_y + 0.08)) - 1), hair)
    face = inside((head - 1) * 0.85)
    paint(face, skin * (1.08 - 0.28 * head**2))
    fringe = uniform(-1.15, -0.78) + uniform(-0.25, 0.25) * x + uniform(-0.1, 0.3) * x * x
    paint(face * inside(y - fringe), hair)

    eye_x, eye_y = side - uniform(0.36, 0.43), fy + uniform(0.20, 0.26)
    eye_w = uniform(0.17, 0.21)
    socket = np.hypot(eye_x / 0.30, (eye_y + 0.05) / 0.24)
    paint(np.clip(1 - socket, 0, 1) * uniform(0.1, 0.5), skin * 0.55)
    bow = 1 - (eye_x / eye_w) ** 2
    lid = np.abs(eye_y) - moves["eye"] * bow
    opening = inside(lid) * (bow > 0)
    paint(opening, np.minimum(skin + 45, 240))
    gaze_x, gaze_y = uniform(-0.05, 0.05), uniform(-0.02, 0.02)
    iris_x = np.abs(fx - gaze_x) - (side - eye_x)
    paint(opening * inside(np.hypot(iris_x, eye_y - gaze_y) - 0.075), uniform(10, 70))
    upper_lid = stroke(eye_y + moves["eye"] * bow, 0.022) * (bow > -0.1)
    paint(upper_lid, skin * 0.3)

    brow_t = np.clip((side - 0.14) / 0.50, 0, 1)
    arch = uniform(0.01, 0.09)
    brow = moves["brow_inner"] + (moves["brow_outer"] - moves["brow_inner"]) * brow_t
    brow = fy - brow + arch * 4 * brow_t * (1 - brow_t)
    ends = inside(np.abs(side - 0.39) - 0.27)
    paint(ends * stroke(brow, uniform(0.015, 0.05) * (1.2 - 0.6 * brow_t)), hair * 0.8)

    nose_y = uniform(0.20, 0.28)
    nose_w = uniform(0.12, 0.18)
    ridge = stroke(side - 0.06 - 0.10 * np.clip(fy + 0.2, 0, 1), 0.02)
    paint(ridge * inside(np.abs(fy - 0.02) - 0.20) * 0.25, skin * 0.6)
    tip = stroke(fy - nose_y + 0.25 * side * side / nose_w, 0.02) * inside(side - nose_w)
    nostril = inside(np.hypot((side - 0.08) / 1.5, fy - nose_y + 0.01) - 0.03)
    paint(np.maximum(tip * 0.6, nostril), skin * 0.42)

    wrinkles = stroke(np.abs(fy + 0.10 - 0.3 * side) - 0.06, 0.015) * inside(side - 0.17)
    paint(wrinkles * moves["wrinkle"], skin * 0.45)
    lines = stroke(side - 0.07, 0.015) * inside(np.abs(fy + 0.45) - 0.11)
    paint(lines * moves["frown"], skin * 0.45)
    fold_t = np.clip((fy - 0.18) / 0.42, 0, 1)
    fold = stroke(side - 0.20 - 0.24 * fold_t, 0.02) * inside(np.abs(fy - 0.39) - 0.19)
    paint(fold * moves["fold"], skin * 0.5)

    mouth_y = uniform(0.56, 0.66)
    stubble = np.clip(2 * (fy - 0.45 + 0.5 * side), 0, 1)
    paint(face * stubble * sometimes(0.2) * uniform(0.2, 0.6), hair)
    mx = fx / moves["width"]
    arc = 1 - mx * mx
    line = mouth_y + moves["corner"] * (arc - 0.5)
    top, bottom = line - moves["upper"] * arc, line + moves["lower"] * arc
    reach = inside((np.abs(mx) - 1) * moves["width"])
    lip = uniform(0.02, 0.05)
    lips = inside(top - lip * (0.4 + arc) - fy) * inside(fy - bottom - lip * (0.6 + 1.4 * arc))
    paint(lips * reach, skin * uniform(0.55, 0.85))
    gap = inside(top - fy) * inside(fy - bottom) * reach
    paint(gap, skin * 0.2)
    teeth = sometimes(0.6) * uniform(0.03, 0.09)
    paint(gap * inside(fy - top - teeth) * (teeth > 0), 225)
    paint(stroke(fy - (top + bottom) / 2, 0.012) * reach * (1 - gap), skin * 0.35)

    rims = stroke(np.hypot(eye_x / 1.2, eye_y) - 0.21, 0.02) + stroke(fy + 0.26, 0.015) * inside(
        side - 0.17
    )
    paint(np.minimum(rims, 1) * sometimes(0.15), uniform(10, 90))
    blob = np.hypot(x - uniform(-1.1, 1.1), (y - uniform(-1.2, 1.2)) * uniform(0.6, 1.6))
    paint(inside(blob - uniform(0.2, 0.4)) * sometimes(0.1), uniform(0, 255))

    canvas *= 1 + uniform(-0.35, 0.35) * x + uniform(-0.2, 0.2) * y
    canvas = (canvas - 128) * uniform(0.6, 1.1) + uniform(95, 160)
    canvas += uniform(1, 8) * rng.standard_normal(canvas.shape, dtype=np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _moves(labels: NDArray[np.int64], rng: np.random.Generator) -> dict[str, Plane]:
    """Draw what every face's features do, each (n, 1, 1)."""
    full = np.array([_EXPRESSIONS[emotion] for emotion in EMOTIONS])[labels]
    intensity = rng.uniform(0.6, 1.1, (len(labels), 1))
    noise = rng.standard_normal(full.shape) * _SPREAD
    values = (_NEUTRAL + intensity * full + noise).astype(np.float32)
    for name, least in {"eye": 0.02, "width": 0.12}.items():
        column = values[:, _MOVES.index(name)]
        np.maximum(column, least, out=column)
    for name in ("upper", "lower", "fold", "wrinkle", "frown"):
        column = values[:, _MOVES.index(name)]
        np.clip(column, 0, 1, out=column)
    return {name: values[:, i, None, None] for i, name in enumerate(_MOVES)}


def _pose(uniform: Callable[[float, float], Plane], size: int) -> tuple[Plane, Plane]:
    """Return the coordinates of every pixel on the face, each (n, size, size)."""
    grid = (np.arange(size, dtype=np.float32) + 0.5) / (size / 2) - 1
    column = grid[None, None, :] - uniform(-0.08, 0.08)
    row = grid[None, :, None] - uniform(-0.08, 0.08)
    angle, scale = np.deg2rad(uniform(-12, 12)), uniform(0.76, 0.92)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    stretch = uniform(0.93, 1.07)
    return (cos * column + sin * row) * stretch, cos * row - sin * column
