"""Pictures of any size in a frame of one size."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow

from fer_edge.runtime.capture.base import Image


def fit(image: Image, width: int, height: int) -> Image:
    """Scale a picture (H, W, 3) to fit into ``width`` by ``height``, black around it."""
    if image.shape[:2] == (height, width):
        return image
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    scaled = Pillow.fromarray(image).resize(inner, Pillow.Resampling.BILINEAR, reducing_gap=2.0)
    fitted = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    fitted[top : top + inner[1], left : left + inner[0]] = np.asarray(scaled)
    return fitted


def grid(images: Sequence[Image], *, width: int = 1920, height: int = 1080) -> Image:
    """Place pictures (H, W, 3) in rows of equal cells, within ``width`` by ``height``.

    One alone stays as it is.
    """
    if len(images) == 1:
        return images[0]
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    cell_width, cell_height = width // columns, height // rows
    canvas = np.zeros((rows * cell_height, columns * cell_width, 3), np.uint8)
    for index, image in enumerate(images):
        top, left = (index // columns) * cell_height, (index % columns) * cell_width
        canvas[top : top + cell_height, left : left + cell_width] = fit(
            image, cell_width, cell_height
        )
    return canvas
