"""The face in a photo: found, cut out as a square and made as large as the model takes it."""

import functools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import FACE_SIZE, FER2013, Contract
from fer_edge.data.face_image import open_image
from fer_edge.detection import RetinaFace
from fer_edge.detection.making import require_maker
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_face, to_face

if TYPE_CHECKING:
    from PIL.Image import Image

_MIN_SCORE = 0.5
# The detector misses faces that are small or touch the border.
_SMALL, _LARGE = 200, 640
_MARGIN_GRAY = (127, 127, 127)


def decode_photo(
    data: bytes, where: str, contract: Contract = FER2013
) -> tuple[NDArray[np.uint8], bool]:
    """Decode an image file to the face in it.

    A photo is turned upright as its EXIF orientation says. An image of 48x48 pixels is taken for
    a face already cut out.

    Parameters
    ----------
    data : bytes
    where : str
        Name of the file in messages.
    contract : Contract
        Of the model that the face is for.

    Returns
    -------
    uint8 array, shape ``contract.crop_shape``
        Resized as :func:`fer_edge.data.face_image.decode_face` does.
    bool
        False where no face was found; the array is then the whole photo.

    Raises
    ------
    DataError
        The bytes are no image that Pillow reads, are cut short, or have more than 8 bits a channel.
    MissingDependencyError
        The detector was not made on this machine yet, and what makes it is not installed.
    """
    with open_image(data, where) as image:
        photo = image.convert("RGB")
    if photo.size == (FACE_SIZE, FACE_SIZE):
        return to_face(photo, contract), True
    box = find_face(photo)
    return to_face(photo if box is None else crop_face(photo, box), contract), box is not None


def find_face(photo: "Image") -> Box | None:
    """Return the largest face in an RGB photo, or None.

    The detector sees the photo within a gray margin of a quarter of its larger side, scaled up by
    an integer so that the larger side has about 200 pixels, or down to 640.

    Raises
    ------
    MissingDependencyError
        The detector was not made on this machine yet, and what makes it is not installed.

    References
    ----------
    Deng et al., "RetinaFace: Single-Shot Multi-Level Face Localisation in the Wild", CVPR 2020.
    """
    detector = _detector()
    from PIL import ImageOps
    from PIL.Image import Resampling

    side = max(photo.size)
    scale = min(max(round(_SMALL / side), 1), _LARGE / side)
    width, height = (max(round(length * scale), 1) for length in photo.size)
    scaled = photo.resize((width, height), Resampling.BILINEAR)
    margin = max(width, height) // 4
    framed = ImageOps.expand(scaled, margin, _MARGIN_GRAY)
    boxes = [found.box for found in detector(np.asarray(framed)[..., ::-1])]
    if not boxes:
        return None
    face = max(boxes, key=lambda box: box.width * box.height)
    return Box(
        (face.x - margin) / scale,
        (face.y - margin) / scale,
        face.width / scale,
        face.height / scale,
    )


@functools.cache
def _detector() -> RetinaFace:
    """In float32, with which a photo gives the same face whatever processor finds it."""
    require_maker("Finding the faces in photos", extra="photos")
    side = _LARGE + 2 * (_LARGE // 4)
    return RetinaFace(min_score=_MIN_SCORE, size=side, precision="fp32", device="cpu")
