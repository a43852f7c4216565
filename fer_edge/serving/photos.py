"""Photos that people send: looked at, decoded, searched and classified in threads."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from fer_edge.pixels.image_file import ImageFileError, ImageSizeError, opened_bytes
from fer_edge.runtime.detection import Detector
from fer_edge.runtime.preprocess import UInt8Array
from fer_edge.serving.answers import Answers
from fer_edge.serving.limits import Limits
from fer_edge.serving.models import Loaded
from fer_edge.serving.refusal import RefusalError


class Photos:
    """Finds and classifies the faces in photos, as many at a time as there are cores.

    Parameters
    ----------
    detector : callable
        Makes a detector; called once in each thread, as few detectors may be shared.
    limits : Limits
    """

    def __init__(self, detector: Callable[[], Detector], limits: Limits) -> None:
        self._make = detector
        self._limits = limits
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, "fer-edge photos")
        self.waiting = 0
        """Photos that are accepted and not yet answered."""

    def check_room(self) -> None:
        """Raise RefusalError, 429, where no photo more is taken."""
        if self.waiting >= self._limits.photos:
            raise RefusalError(
                429,
                f"{self.waiting} photos wait, of {self._limits.photos} at most. Try again.",
                retry_after=1,
                dropped="queue_full",
            )

    def find(
        self, name: str, loaded: Loaded, data: bytes, answers: Answers
    ) -> "tuple[asyncio.Future[list[dict[str, object]]], Callable[[], object]]":
        """Hand in a photo; what to wait for, and what gives it up."""
        self.check_room()
        self.waiting += 1
        loaded.hold()

        def done() -> None:
            self.waiting -= 1
            loaded.let_go()

        future: Future[dict[str, object]] = self._pool.submit(self._find, name, loaded, data)
        return answers.expect([(future, done)]), future.cancel

    def close(self) -> None:
        """End the threads, after the photos under way."""
        self._pool.shutdown(cancel_futures=True)

    def _find(self, name: str, loaded: Loaded, data: bytes) -> dict[str, object]:
        image = read_photo(data, self._limits.pixels)
        if not hasattr(self._own, "detector"):
            self._own.detector = self._make()
        seen = loaded.recognizer.find(image, detector=self._own.detector)
        height, width = image.shape[:2]
        return {
            "model": name,
            "width": width,
            "height": height,
            "faces": [
                {
                    "box": [round(float(value), 1) for value in face.box],
                    "score": None if face.score is None else float(face.score),
                    "emotion": face.emotion,
                    "probabilities": dict(
                        zip(face.classes, face.probabilities.tolist(), strict=True)
                    ),
                }
                for face in seen
            ],
        }


def read_photo(data: bytes, most_pixels: int) -> UInt8Array:
    """Decode a file, shape (H, W, 3), RGB.

    Raises
    ------
    RefusalError
        413: more pixels than are taken, looked at before they are decoded. 400: no image that can
        be read.
    """
    try:
        with opened_bytes(data, most_pixels) as image:
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except ImageSizeError as error:
        raise RefusalError(413, f"The photo is too large: {error}. {error.hint}") from error
    except ImageFileError as error:
        raise RefusalError(400, f"The photo cannot be read: {error}. {error.hint}") from error
