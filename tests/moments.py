"""Moments made up for tests."""

import time
from collections.abc import Sequence

import numpy as np

from fer_edge.pixels.boxes import Box
from fer_edge.runtime.capture import Frame
from fer_edge.runtime.moment import Moment, SeenFace

GROUND = 90


def seen(
    box: Sequence[float] = (200, 150, 100, 120), label: int = 3, share: float = 0.7, track: int = 0
) -> SeenFace:
    """A face; the other emotions share what its own leaves, and ``raw`` has that one alone."""
    smooth = np.full(7, (1 - share) / 6, np.float32)
    smooth[label] = share
    raw = np.eye(7, dtype=np.float32)[label]
    return SeenFace(track, Box(*box), 0.9, label, smooth, raw)


def moment(
    *faces: SeenFace,
    image: np.ndarray | None = None,
    index: int = 0,
    source: str = "door",
    position: float | None = None,
    captured: float | None = None,
    age_ms: float = 40,
) -> Moment:
    if image is None:
        image = np.full((480, 640, 3), GROUND, np.uint8)
    when = time.monotonic() if captured is None else captured
    return Moment(Frame(image, when, index, source, position), [*faces], when + age_ms / 1e3)
