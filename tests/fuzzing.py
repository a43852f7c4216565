"""Damaged and made-up files: what the readers and the command line are tried on.

``FER_EDGE_FUZZ=2000`` makes it 2,000 inputs a test, others each time; the default keeps the tests
quick, and the same.
"""

import io
import os
import zipfile

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image

from fer_edge.models.carried import carried_model

FUZZ = settings(
    max_examples=int(os.environ.get("FER_EDGE_FUZZ", "150")),
    deadline=None,
    derandomize="FER_EDGE_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
FACE = np.arange(2304, dtype=np.uint8).reshape(48, 48)


def encode(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(FACE).save(stream, kind)
    return stream.getvalue()


def packed() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("train/happy/a.png", "val/sad/b.png", "notes.csv"):
            archive.writestr(name, encode("PNG"))
    return stream.getvalue()


ROW = f"3,{' '.join(map(str, FACE.ravel()))},Training"
CSV = f"emotion,pixels,Usage\n{ROW}\n{ROW}\n".encode()
LEGEND = b"image,emotion,split\na.png,happy,train\nb.png,sad,val\n"
LIST = b"a.png 0 1 1 40 40 9.5 3\nb.png 0 1 1 40 40 9.5 4\n"
IMAGES = [encode(kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")]
MANIFEST = (carried_model() / "manifest.json").read_bytes()
ODD = [
    *(b"\r", b"\n", b"\0", b'"', b",", b";", b"\t", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(b"-1", b"../", b"1e999"),
]


@st.composite
def damaged(draw: st.DrawFn, *whole: bytes) -> bytes:
    """One of some files, cut, with bytes changed, put in or doubled; or bytes of no kind."""
    data = bytearray(draw(st.sampled_from(whole)))
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=300))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(data)))
        # The beginning of a file, where its header is, is met more often than chance has it.
        at = at % 64 if draw(st.booleans()) else at
        match draw(st.integers(0, 4)):
            case 0:
                del data[at:]
            case 1:
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 2:
                data[at:at] = draw(st.sampled_from(ODD) | st.binary(max_size=8))
            case 3:
                del data[at : at + draw(st.integers(1, 40))]
            case 4:
                data[at:at] = data[at : at + draw(st.integers(1, 400))]
    return bytes(data)
