"""What is an image, and what to say of what is none."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_edge.errors import InputError


def check_image(image: object, what: str) -> None:
    """Raise InputError, which begins with ``what``, unless it is uint8 (H, W) or (H, W, 3)."""
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"{what} must be a numpy array, got {type(image).__name__}.",
            hint="Convert it with numpy.asarray; read a file with fer_edge.runtime.read_image.",
        )
    check_dtype(image, what)
    if image.ndim == 3 and image.shape[2] == 4:
        raise InputError(
            f"{what} has four channels, shape {image.shape}.",
            hint="Drop the alpha channel: image[..., :3].",
        )
    if image.ndim == 4:
        raise InputError(
            f"{what} has shape {image.shape}, which is several images.",
            hint="Pass them as a list: list(images).",
        )
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or image.size == 0:
        raise InputError(
            f"{what} must have shape (H, W) or (H, W, 3) and a pixel at least, got {image.shape}.",
            hint="Several images of one size go in as a list: list(images).",
        )


def check_dtype(image: NDArray[Any], what: str) -> None:
    """Raise InputError, which begins with ``what``, unless it is uint8."""
    if image.dtype != np.uint8:
        raise InputError(
            f"{what} must be uint8, got {image.dtype}.",
            hint="Scale it to 0..255 and convert it with .astype(numpy.uint8).",
        )
