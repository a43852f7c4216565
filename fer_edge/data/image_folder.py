"""FER2013 as images: ``[prefix/]<split>/<emotion>/<name>.jpg`` in a folder or zip."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import EMOTIONS, FACE_SIZE
from fer_edge.data.dataset import FaceDataset
from fer_edge.data.image_file import SUFFIXES, ImageFileError, opened_bytes
from fer_edge.data.labels import SPLIT_FOLDERS, SPLITS, USAGES, Split, emotion_label
from fer_edge.data.sources import Source
from fer_edge.errors import DataError

if TYPE_CHECKING:
    import PIL.Image

_FACES_PER_REPORT = 100


class Image(NamedTuple):
    """A member of the archive and what its path says about it."""

    member: str
    root: tuple[str, ...]
    """Folders above the split folder."""
    split: Split
    official: bool
    """The file name carries a split of FER2013."""
    label: int


def read_images(
    source: Source, progress: Callable[[int, int], None] | None = None
) -> dict[Split, FaceDataset]:
    """Read an image-folder archive.

    Parameters
    ----------
    source : Source
    progress : callable, optional
        Called with images read and images in all.

    Returns
    -------
    dict of Split to FaceDataset
        Splits without faces are left out. Faces are in the order of their file names, so that
        folder and zip give the same data and emotions are mixed.

    Raises
    ------
    DataError
        No images in this layout, a folder that is no emotion, or a file that is no image.
    """
    images = find_images(source)
    faces = np.empty((len(images), FACE_SIZE, FACE_SIZE), np.uint8)
    for i, image in enumerate(images):
        with source.open(image.member) as stream:
            faces[i] = decode_face(stream.read(), source.where(image.member))
        if progress is not None and ((i + 1) % _FACES_PER_REPORT == 0 or i + 1 == len(images)):
            progress(i + 1, len(images))
    labels = np.array([image.label for image in images], np.int64)
    names = np.array([image.member for image in images])
    splits = np.array([image.split for image in images])
    return {
        split: FaceDataset.from_arrays(faces[chosen], labels[chosen], split, names=names[chosen])
        for split in SPLITS
        if (chosen := splits == split).any()
    }


def find_images(source: Source) -> list[Image]:
    """Return the images of an archive with split and label, sorted by file name.

    Names like ``PublicTest_123.jpg`` decide the split, whatever folder they are in. Where no name
    does and there is no validation folder, :func:`hold_out` takes validation from train.

    Raises
    ------
    DataError
        No images in this layout, a folder that is no emotion, or two archives side by side.
    """
    images = [image for member in source.members if (image := _classify(source, member))]
    if not images:
        raise DataError(
            f"{source.path} holds no faces: neither fer2013.csv, nor images in "
            "train/<emotion>/ and test/<emotion>/, nor a csv that names images and emotions.",
            hint="Give the folder, zip or csv itself, not what it is packed in.",
        )
    # A well-known archive on Kaggle holds itself a second time, one folder deeper.
    depth = min(len(image.root) for image in images)
    images = [image for image in images if len(image.root) == depth]
    roots = sorted({"/".join(image.root) for image in images})
    if len(roots) > 1:
        raise DataError(
            f"{source.path} holds several data sets: {', '.join(roots)}.",
            hint="Give one of these folders.",
        )
    if not any(image.official or image.split == "val" for image in images):
        images = hold_out(images)
    return sorted(images, key=lambda image: (PurePosixPath(image.member).name, image.member))


def hold_out(images: list[Image]) -> list[Image]:
    """Move a tenth of every emotion from train to val, at least one face of two.

    The hash of a file's name decides, so that the choice depends neither on the order of files
    nor on where the archive lies, and hardly on what is added to it.
    """
    held: set[str] = set()
    for label in range(len(EMOTIONS)):
        members = [
            image.member for image in images if (image.label, image.split) == (label, "train")
        ]
        members.sort(key=lambda member: (_name_hash(member), member))
        held.update(members[: max(round(len(members) / 10), int(len(members) > 1))])
    return [image._replace(split="val") if image.member in held else image for image in images]


def decode_face(data: bytes, where: str) -> NDArray[np.uint8]:
    """Decode an image file to a face, uint8 (48, 48), resized with antialiasing if need be.

    Raises
    ------
    DataError
        The bytes are no image that Pillow reads, are cut short, or have more than 8 bits a channel.
    """
    with open_image(data, where) as image:
        gray = image.convert("L")
    return resize_face(gray)


@contextlib.contextmanager
def open_image(data: bytes, where: str) -> Iterator["PIL.Image.Image"]:
    """Open an image file, upright; decode it within the block.

    Raises
    ------
    DataError
        The bytes are no image that Pillow reads, are cut short, or have more than 8 bits a channel.
    """
    try:
        with opened_bytes(data) as image:
            yield image
    except ImageFileError as error:
        raise DataError(
            f"{where} is not an image that can be read: {error if data else 'it is empty'}.",
            hint=f"{error.hint} Or remove it." if data else "Get it again, or remove it.",
        ) from error


def resize_face(gray: "PIL.Image.Image") -> NDArray[np.uint8]:
    """Make a face, uint8 (48, 48), of a grayscale image of any size, with antialiasing."""
    from PIL import Image as Pillow

    if gray.size != (FACE_SIZE, FACE_SIZE):
        # Hamming reduces as well as Lanczos, in a third of the time; bench/resampling.py.
        larger = min(gray.size) > FACE_SIZE
        method = Pillow.Resampling.HAMMING if larger else Pillow.Resampling.LANCZOS
        gray = gray.resize((FACE_SIZE, FACE_SIZE), method)
    return np.asarray(gray)


def holds_emotion_folders(source: Source) -> bool:
    """Tell whether an image lies in the folder of one of the seven emotions in a split."""
    places = map(_place, source.members)
    return any(place is not None and emotion_label(place.emotion) is not None for place in places)


class _Place(NamedTuple):
    root: tuple[str, ...]
    split: Split
    official: bool
    emotion: str


def _place(member: str) -> _Place | None:
    path = PurePosixPath(member)
    if path.suffix.lower() not in SUFFIXES or len(path.parts) < 2:
        return None
    *above, emotion, name = path.parts
    usage = USAGES.get(name.partition("_")[0].lower())
    folder = SPLIT_FOLDERS.get(above[-1].lower()) if above else None
    split = usage or folder
    if split is None:
        return None
    root = tuple(above[:-1] if folder else above)
    return _Place(root, split, usage is not None, emotion)


def _classify(source: Source, member: str) -> Image | None:
    place = _place(member)
    if place is None:
        return None
    label = emotion_label(place.emotion)
    if label is None:
        raise DataError(
            f"{source.where(member)} lies in {place.emotion!r}, which is none of "
            f"{', '.join(EMOTIONS)}.",
            hint="Rename or remove that folder.",
        )
    return Image(member, place.root, place.split, place.official, label)


def _name_hash(member: str) -> bytes:
    return hashlib.sha256(PurePosixPath(member).name.encode()).digest()
