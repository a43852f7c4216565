"""The file as it came, and images for it: what the graph of record is held against."""

from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from fer_edge.export.importing.editing import open_session
from fer_edge.export.importing.pretreatment import Normalisation
from fer_edge.export.importing.signature import Signature

NetworkColor = Literal["gray", "rgb", "bgr"]


class Original:
    """The file as it came, run as it came, on float images of its own size."""

    def __init__(self, model: onnx.ModelProto, signature: Signature, size: int) -> None:
        self._session: Any = open_session(model)
        self._signature = signature
        self._size = size
        inputs = self._session.get_inputs()
        taken = next(one for one in inputs if one.name == signature.input)
        self.half = "float16" in taken.type or any(
            tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer
        )
        self._dtype = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(
            taken.type, np.uint8 if "uint8" in taken.type else np.float32
        )

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Numbers per image, (N, K)."""
        step = self._signature.batch or 16
        images = (np.rint(images) if self._dtype == np.uint8 else images).astype(self._dtype)
        rows = []
        for start in range(0, len(images), step):
            part = images[start : start + step]
            missing = step - len(part) if self._signature.batch else 0
            if missing:
                part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
            (found,) = self._session.run([self._signature.output], {self._signature.input: part})
            rows.append(np.asarray(found, np.float64).reshape(len(part), -1)[: step - missing])
        return np.concatenate(rows)[: len(images)]


def prepared(
    faces: NDArray[np.uint8],
    signature: Signature,
    normalisation: Normalisation,
    color: NetworkColor,
    size: int,
) -> NDArray[np.float32]:
    """Faces as the file wants them, by NumPy alone."""
    pixels = faces.astype(np.float32)
    if faces.shape[-1] != size:
        pixels = resized(pixels, size)
    if pixels.shape[1] < signature.channels:
        pixels = np.repeat(pixels, signature.channels, axis=1)
    if color == "bgr":
        pixels = pixels[:, ::-1]
    if signature.dtype != "uint8":
        pixels = normalisation(pixels)
    return pixels.transpose(0, 2, 3, 1) if signature.layout == "NHWC" else pixels


def resized(pixels: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Bilinear, with the centres of pixels where they are."""
    for axis in (2, 3):
        length = pixels.shape[axis]
        places = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.floor(places).astype(np.int64)
        high, share = np.minimum(low + 1, length - 1), (places - low).astype(np.float32)
        shape = [1] * 4
        shape[axis] = -1
        share = share.reshape(shape)
        pixels = pixels.take(low, axis) * (1 - share) + pixels.take(high, axis) * share
    return pixels


def probe_images(n: int, channels: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Blots of many contrasts and sizes with noise, uint8 (n, channels, size, size)."""
    generator = np.random.default_rng(seed)
    images = np.empty((n, channels, size, size), np.float32)
    for image in images:
        cells = int(generator.integers(2, max(size // 3, 3)))
        coarse = generator.normal(0, generator.uniform(10, 90), (1, channels, cells, cells))
        image[:] = resized(coarse.astype(np.float32), size)[0]
    images += generator.normal(generator.uniform(70, 180, (n, 1, 1, 1)), 8, images.shape)
    return np.clip(images, 0, 255).astype(np.uint8)
