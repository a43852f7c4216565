"""What tests say of pictures."""

from pathlib import Path

import numpy as np
from PIL import Image


def assert_picture(path: Path) -> None:
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("L"))
    assert min(pixels.shape) > 400
    assert pixels.min() < 50 < 200 < pixels.max()
