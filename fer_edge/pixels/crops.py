"""Faces cut out of photos and frames, at the size and in the colour that a model takes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import FER2013, Contract
from fer_edge.pixels.boxes import Box, corner, square

if TYPE_CHECKING:
    from PIL.Image import Image


def to_face(image: "Image", contract: Contract = FER2013) -> NDArray[np.uint8]:
    """Make a face of an image of any size and mode, with antialiasing.

    Returns
    -------
    uint8 array, shape ``contract.crop_shape``
        (size, size) in gray, by the ITU-R BT.601 weights, or (3, size, size) in RGB.
    """
    from PIL.Image import Resampling

    image = in_color(image, contract)
    size = (contract.size, contract.size)
    if image.size != size:
        # Hamming reduces as well as Lanczos, in a third of the time; bench/resampling.py.
        larger = min(image.size) > contract.size
        method = Resampling.HAMMING if larger else Resampling.LANCZOS
        image = image.resize(size, method)
    pixels = np.asarray(image)
    return pixels if contract.color == "gray" else pixels.transpose(2, 0, 1)


def to_picture(face: NDArray[np.uint8]) -> "Image":
    """A face, (size, size) or (3, size, size), as an image to look at."""
    from PIL import Image as Pillow

    return Pillow.fromarray(face if face.ndim == 2 else face.transpose(1, 2, 0))


def in_color(image: "Image", contract: Contract) -> "Image":
    """The image in gray, by the ITU-R BT.601 weights, or in RGB, as the model takes it."""
    return image.convert("L" if contract.color == "gray" else "RGB")


def crop_face(image: "Image", box: Box) -> "Image":
    """Cut out the square around a face; pixels beyond the border repeat the border's."""
    from PIL import Image as Pillow

    rows, columns = square(box, image.width, image.height)
    return Pillow.fromarray(np.asarray(image)[np.ix_(rows, columns)])


def crop_faces(
    image: NDArray[np.uint8], boxes: Sequence[Box], contract: Contract = FER2013
) -> NDArray[np.uint8]:
    """Cut out the square around each box, as a batch of faces.

    The same crop as :func:`crop_face` makes of photos for training; only the pixels inside are
    converted.

    Parameters
    ----------
    image : uint8 array, shape (H, W, 3) in BGR or (H, W)
    boxes : sequence of Box
        They may reach over the border, whose pixels are then repeated.
    contract : Contract
        Of the model that the faces are for.

    Returns
    -------
    uint8 array, shape (len(boxes), *contract.crop_shape)
    """
    faces = np.empty((len(boxes), *contract.crop_shape), np.uint8)
    height, width = image.shape[:2]
    for index, box in enumerate(boxes):
        left, top, side = corner(box)
        if left >= 0 and top >= 0 and left + side <= width and top + side <= height:
            part = image[top : top + side, left : left + side]
        else:
            part = image[np.ix_(*square(box, width, height))]
        faces[index] = to_face(_opened(part), contract)
    return faces


def _opened(part: NDArray[np.uint8]) -> "Image":
    from PIL import Image as Pillow

    part = np.ascontiguousarray(part)
    if part.ndim == 2:
        return Pillow.fromarray(part)
    # Pillow swaps the channels while it copies, in a fraction of the time that numpy takes.
    size = (part.shape[1], part.shape[0])
    return Pillow.frombuffer("RGB", size, part, "raw", "BGR", 0, 1)
