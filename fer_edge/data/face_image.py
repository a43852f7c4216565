"""Image files as faces: grayscale, 48x48."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import FACE_SIZE
from fer_edge.data.image_file import ImageFileError, opened_bytes
from fer_edge.errors import DataError

if TYPE_CHECKING:
    import PIL.Image


def decode_face(data: bytes, where: str) -> NDArray[np.uint8]:
    """Decode an image file to a face, uint8 (48, 48), resized with antialiasing if need be.

    Raises
    ------
    DataError
        The bytes are no image that Pillow reads, are cut short, or have more than 8 bits a channel.
    """
    with open_image(data, where) as image:
        gray = image.convert("L")
    return resize_face(gray)


@contextlib.contextmanager
def open_image(data: bytes, where: str) -> Iterator["PIL.Image.Image"]:
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


def resize_face(gray: "PIL.Image.Image") -> NDArray[np.uint8]:
    """Make a face, uint8 (48, 48), of a grayscale image of any size, with antialiasing."""
    from PIL import Image as Pillow

    if gray.size != (FACE_SIZE, FACE_SIZE):
        # Hamming reduces as well as Lanczos, in a third of the time; bench/resampling.py.
        larger = min(gray.size) > FACE_SIZE
        method = Pillow.Resampling.HAMMING if larger else Pillow.Resampling.LANCZOS
        gray = gray.resize((FACE_SIZE, FACE_SIZE), method)
    return np.asarray(gray)
