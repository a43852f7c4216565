"""Image files as faces."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import FER2013, Contract
from fer_edge.errors import DataError
from fer_edge.pixels.crops import to_face
from fer_edge.pixels.image_file import ImageFileError, opened_bytes

if TYPE_CHECKING:
    from PIL.Image import Image


_SQUARE: Final = 1.1
"""How much longer one side of a crop may be; detectors' boxes are rarely exact squares."""


def decode_face(
    data: bytes, where: str, contract: Contract = FER2013
) -> tuple[NDArray[np.uint8], bool]:
    """Decode an image file to a face, resized with antialiasing if need be.

    Returns
    -------
    uint8 array, shape ``contract.crop_shape``
    bool
        False where the image is far from square, and so was squeezed.

    Raises
    ------
    DataError
        The bytes are no image that Pillow reads, are cut short, or have more than 8 bits a channel.
    """
    with open_image(data, where) as image:
        return to_face(image, contract), max(image.size) <= _SQUARE * min(image.size)


@contextlib.contextmanager
def open_image(data: bytes, where: str) -> Iterator["Image"]:
    """Open an image file, upright; decode it within the block.

    Raises
    ------
    DataError
        The bytes are no image that Pillow reads, are cut short, or have more than 8 bits a channel.
    """
    try:
        with opened_bytes(data) as image:
            yield image
    except ImageFileError as error:
        raise DataError(
            f"{where} is not an image that can be read: {error if data else 'it is empty'}.",
            hint=f"{error.hint} Or remove it." if data else "Get it again, or remove it.",
        ) from error
