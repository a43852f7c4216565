"""The images of a folder, one after another."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fer_edge.errors import CaptureError, FerEdgeError, FrameError
from fer_edge.files import shown
from fer_edge.pixels.image_file import SUFFIXES
from fer_edge.runtime.capture.base import Image
from fer_edge.runtime.preprocess import read_image

_LITTER = ("thumbs.db", "desktop.ini")


def list_images(path: Path) -> tuple[list[Path], dict[str, int]]:
    """The images in a folder in natural order (9, 10, 11), and how much else of what kind it has.

    What begins with a dot is not looked at, nor what Windows adds on its own.

    Raises
    ------
    CaptureError
        There are no images, or the folder cannot be read.
    """
    images: list[Path] = []
    others: Counter[str] = Counter()
    try:
        for one in path.iterdir():
            if one.name.startswith(".") or one.name.lower() in _LITTER:
                continue
            if one.is_dir():
                others["folder"] += 1
            elif one.suffix.lower() in SUFFIXES:
                images.append(one)
            else:
                others[one.suffix.lower() or "without ending"] += 1
    except OSError as error:
        raise CaptureError(
            f"{path} cannot be read: {error.strerror}.", hint="Check its permissions."
        ) from error
    skipped = dict(sorted(others.items()))
    if not images:
        has = f" (it has {tell_skipped(skipped)})" if skipped else ""
        raise CaptureError(
            f"{path} has no images{has}.",
            hint=f"Images end in {', '.join(sorted(SUFFIXES))}; folders below are not looked into.",
        )
    images.sort(key=lambda image: (natural(image.stem), image.name))
    return images, skipped


def natural(name: str) -> list[str | int]:
    """Key that sorts names as people count: ``frame9`` before ``frame10``."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def tell_skipped(skipped: Mapping[str, int]) -> str:
    """``2 .txt, 1 folder``."""
    return ", ".join(
        f"{count:,} {'folders' if kind == 'folder' and count > 1 else kind}"
        for kind, count in skipped.items()
    )


class FolderReader:
    """Reads images, each by its name; one that cannot be read keeps its place in time.

    Parameters
    ----------
    images : sequence of Path
    fps : float, optional
        Rate at which they were taken.
    """

    def __init__(self, images: Sequence[Path], fps: float | None) -> None:
        self._images = iter(images)
        self._fps = fps
        self._count = 0
        self.length = len(images)

    def read(self) -> tuple[Image, float | None, None, str] | None:
        path = next(self._images, None)
        if path is None:
            return None
        position = None if self._fps is None else self._count / self._fps
        self._count += 1
        try:
            image = np.ascontiguousarray(read_image(path)[..., ::-1])
        except FerEdgeError as error:
            raise FrameError(
                shown(error.message), file=shown(path.name), hint=error.hint
            ) from error
        return image, position, None, shown(path.name)

    def close(self) -> None:
        self._images = iter(())
