"""Faces cut out of frames, framed as those that models are trained on."""

from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow

from fer_edge.contract import FACE_SIZE
from fer_edge.data.face_crop import Box, square
from fer_edge.data.image_folder import resize_face
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
    for index, box in enumerate(boxes):
        rows, columns = square(box, image.shape[1], image.shape[0])
        part = image[np.ix_(rows, columns)]
        if part.ndim == 3:
            part = np.ascontiguousarray(part[..., ::-1])
        faces[index] = resize_face(Pillow.fromarray(part).convert("L"))
    return faces
