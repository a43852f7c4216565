"""Faces cut out of frames, framed as those that models are trained on."""

from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow

from fer_edge.contract import FACE_SIZE
from fer_edge.data.face_crop import Box, corner, square
from fer_edge.data.face_image import resize_face
from fer_edge.engines.base import Faces
from fer_edge.runtime.capture.base import Image


def crop_faces(image: Image, boxes: Sequence[Box]) -> Faces:
    """Cut out the square around each box, in gray, 48x48.

    The same crop as :func:`fer_edge.data.face_crop.crop_face` makes of photos for training; only
    the pixels inside are converted.

    Parameters
    ----------
    image : uint8 array, shape (H, W, 3) in BGR or (H, W)
    boxes : sequence of Box
        They may reach over the border, whose pixels are then repeated.

    Returns
    -------
    uint8 array, shape (len(boxes), 48, 48)
    """
    faces = np.empty((len(boxes), FACE_SIZE, FACE_SIZE), np.uint8)
    height, width = image.shape[:2]
    for index, box in enumerate(boxes):
        left, top, side = corner(box)
        if left >= 0 and top >= 0 and left + side <= width and top + side <= height:
            gray = _gray(image[top : top + side, left : left + side])
        else:
            rows, columns = square(box, width, height)
            gray = _gray(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
            inside = np.asarray(gray)[np.ix_(rows - rows[0], columns - columns[0])]
            gray = Pillow.fromarray(inside)
        faces[index] = resize_face(gray)
    return faces


def _gray(part: Image) -> Pillow.Image:
    part = np.ascontiguousarray(part)
    if part.ndim == 2:
        return Pillow.fromarray(part)
    # Pillow swaps the channels while it copies, in a fraction of the time that numpy takes.
    size = (part.shape[1], part.shape[0])
    return Pillow.frombuffer("RGB", size, part, "raw", "BGR", 0, 1).convert("L")
