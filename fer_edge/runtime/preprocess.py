"""Images of any size to the faces of a model's contract."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_edge.contract import FER2013, Contract
from fer_edge.errors import InputError, UsageError
from fer_edge.files import storage_errors
from fer_edge.pixels.checks import check_dtype, check_image
from fer_edge.pixels.crops import to_face
from fer_edge.pixels.image_file import ImageFileError, opened

Color = Literal["rgb", "bgr"]
UInt8Array: TypeAlias = NDArray[np.uint8]


def to_faces(
    images: UInt8Array | Sequence[UInt8Array],
    *,
    color: Color = "rgb",
    contract: Contract = FER2013,
) -> UInt8Array:
    """Turn what a camera or a face detector gives into a batch of faces.

    Each image is taken to be one cropped face. Its shape alone decides how it is read, where S is
    the size that the model takes, 48 for those of this package:

    ===================================  ==========================================
    array (N, S, S), (N, 1, S, S)        N faces for a grayscale model, as they are
    array (N, 3, S, S)                   N faces for a colour model, as they are
    array (H, W)                         one grayscale image
    array (H, W, 3)                      one colour image
    list or tuple                        one image each, (H, W) or (H, W, 3), any mix
    ===================================  ==========================================

    For a grayscale model colour becomes gray with the ITU-R BT.601 weights (Pillow's
    ``convert("L")``), for a colour model gray goes into each channel. Other sizes than the model's
    are resized to it (the aspect ratio is not kept) with antialiasing, as
    :func:`fer_edge.pixels.crops.to_face` does: over all source pixels, so that shrinking does not
    alias as OpenCV's bilinear does.

    Parameters
    ----------
    images : uint8 array, or list or tuple of uint8 arrays
    color : {"rgb", "bgr"}
        Channel order of colour images; OpenCV gives BGR.
    contract : Contract
        Of the model that the faces are for.

    Returns
    -------
    uint8 array, shape (N, *contract.crop_shape)
        (N, size, size) in gray, (N, 3, size, size) in RGB.

    Raises
    ------
    InputError
        An image of another type, dtype or shape; its index is named.
    UsageError
        Another colour order.
    """
    check_color(color)
    if isinstance(images, list | tuple):
        faces = np.empty((len(images), *contract.crop_shape), np.uint8)
        for index, image in enumerate(images):
            faces[index] = _to_face(image, color, contract, f"Image {index}")
        return faces
    if isinstance(images, np.ndarray) and images.shape[1:] in (
        contract.crop_shape,
        contract.face_shape,
    ):
        check_dtype(images, "The batch of faces")
        if contract.color == "rgb" and color == "bgr":
            return images[:, ::-1]
        return images.reshape(-1, *contract.crop_shape)
    return _to_face(images, color, contract, "The image")[None]


def to_frame(image: UInt8Array, *, color: Color = "rgb") -> UInt8Array:
    """Turn a photo into what cameras give and detectors take; raises as :func:`to_faces` does.

    Returns
    -------
    uint8 array, shape (H, W, 3), BGR, or (H, W)
    """
    check_color(color)
    check_image(image, "The image")
    return image[..., ::-1] if image.ndim == 3 and color == "rgb" else image


def read_image(file: str | Path | BinaryIO) -> UInt8Array:
    """Read an image file, turned upright as its EXIF orientation says.

    A service that reads strangers' files sets ``PIL.Image.MAX_IMAGE_PIXELS`` to what it expects;
    otherwise up to 256 megapixels are read, 3 bytes each.

    Parameters
    ----------
    file : str, Path or binary file object
        A file object must be seekable, and stays open.

    Returns
    -------
    uint8 array, shape (H, W, 3), RGB

    Raises
    ------
    InputError
        Not an image that Pillow can read, truncated, of more than 8 bits a channel, or too large
        to be meant.
    StorageError
        No such file, or no permission.
    """
    if not isinstance(file, str | Path):
        return _read_image(file, "The image")
    path = Path(file)
    with storage_errors(path):
        stream = path.open("rb")
    with stream:
        return _read_image(stream, str(path))


def _read_image(stream: BinaryIO, what: str) -> UInt8Array:
    try:
        with opened(stream) as image:
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except ImageFileError as error:
        raise InputError(f"{what} cannot be read as an image: {error}.", hint=error.hint) from error


def _to_face(image: Any, color: Color, contract: Contract, what: str) -> UInt8Array:
    check_image(image, what)
    if image.shape == contract.crop_shape:
        return image
    if image.ndim == 3 and color == "bgr":
        image = image[..., ::-1]
    return to_face(Image.fromarray(np.ascontiguousarray(image)), contract)


def check_color(color: str) -> None:
    """Raise UsageError unless it is an order of channels."""
    if color not in get_args(Color):
        raise UsageError(
            f"Unknown colour order {color!r}.",
            hint='Say color="rgb" or color="bgr"; grayscale images need neither.',
        )
