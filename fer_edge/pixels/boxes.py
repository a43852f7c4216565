"""Where faces are, and the squares around them that models see."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# FER2013's framing, as a model trained on it sees it: of sides 0.9 to 1.45 times the box, 1.1 gives
# the highest accuracy on the labels of expressions.zip, and moving the square up or down none.
_SIDE = 1.1


class Box(NamedTuple):
    """Where a face is, in pixels of the photo; it may reach over the border."""

    x: float
    y: float
    width: float
    height: float


def corner(box: Box) -> tuple[int, int, int]:
    """Left, top and side of the square around a face, in pixels.

    The square shares the centre of the box, and its side is 1.1 times the mean of width and height.
    """
    side = max(round(_SIDE * (box.width + box.height) / 2), 1)
    return (
        round(box.x + (box.width - side) / 2),
        round(box.y + (box.height - side) / 2),
        side,
    )


def square(box: Box, width: int, height: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns, of an image of that size, of the square around a face."""
    left, top, side = corner(box)
    return (
        np.arange(top, top + side).clip(0, height - 1),
        np.arange(left, left + side).clip(0, width - 1),
    )
