"""What a viewer gets of a moment."""

import io
import json
import math
import struct
from collections.abc import Mapping

import numpy as np
from PIL import Image as Pillow

from fer_edge.runtime.capture.base import Image
from fer_edge.runtime.moment import Moment

_LARGEST_SIDE = 1280
"""In pixels; larger frames are scaled down, by an integer: a fifth of the time of any other."""
_QUALITY = 80


def encode_moment(moment: Moment, facts: Mapping[str, object]) -> bytes:
    """Pack a moment so that its picture and its numbers arrive together.

    Parameters
    ----------
    moment : Moment
    facts : mapping
        What else is told, ready for JSON.

    Returns
    -------
    bytes
        Length of the JSON as uint32, little-endian; the JSON: :meth:`Moment.to_dict`, ``facts``,
        and the ``width`` and ``height`` that boxes refer to; the picture as JPEG.
    """
    height, width = moment.frame.image.shape[:2]
    told = {**moment.to_dict(), **facts, "width": width, "height": height}
    text = json.dumps(told, separators=(",", ":")).encode()
    return struct.pack("<I", len(text)) + text + encode_jpeg(moment.frame.image)


def encode_jpeg(image: Image) -> bytes:
    """A BGR (H, W, 3) or gray (H, W) image as JPEG, its larger side 1280 pixels at most."""
    height, width = image.shape[:2]
    pixels = np.ascontiguousarray(image)
    if image.ndim == 2:
        picture = Pillow.fromarray(pixels)
    else:
        picture = Pillow.frombuffer("RGB", (width, height), pixels, "raw", "BGR", 0, 1)
    picture = picture.reduce(math.ceil(max(width, height) / _LARGEST_SIDE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
