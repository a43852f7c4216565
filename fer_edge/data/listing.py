"""What readers of images find, and how it becomes faces."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import FER2013, Contract
from fer_edge.data.dataset import FaceDataset
from fer_edge.data.face_crop import decode_photo
from fer_edge.data.face_image import decode_face, open_image
from fer_edge.data.hold_out import choose_held_out
from fer_edge.data.labels import SPLITS, Split
from fer_edge.data.sources import Source
from fer_edge.pixels.boxes import Box
from fer_edge.pixels.crops import crop_face, in_color, to_face
from fer_edge.pixels.image_file import SUFFIXES

Progress = Callable[[int, int], None]
_FACES_PER_REPORT = 20


@dataclass(frozen=True)
class LegendReport:
    """What reading labelled images gave and left out.

    Attributes
    ----------
    faces : int
        Faces in all splits together.
    dropped : dict of str to int
        Images, or lines of a legend, per label, lower case, that is none of the seven emotions.
    without_face : int
        Photos in which no face was found; they are used whole, and are among ``faces``.
    ignored : int
        Images in no folder of an emotion, which are not read.
    example : str
        One of them.
    squeezed : int
        Images that are far from square and were made so, and are among ``faces``.
    """

    faces: int
    dropped: dict[str, int]
    without_face: int
    ignored: int = 0
    example: str = ""
    squeezed: int = 0

    def tell(self) -> str:
        """All of it in a line."""
        left = [f"{count:,} {label}" for label, count in self.dropped.items()]
        without = (
            f"; no face found in {self.without_face:,}, which were used whole"
            if self.without_face
            else ""
        )
        ignored = (
            f"; {self.ignored:,} images in no folder of an emotion were not read, such as "
            f"{self.example}"
            if self.ignored
            else ""
        )
        squeezed = (
            f"; {self.squeezed:,} images that are no squares were squeezed into one: give crops of "
            "faces, or a csv that names photos"
            if self.squeezed
            else ""
        )
        dropped = ", ".join(left) or "none"
        return f"{self.faces:,} faces; dropped {dropped}{without}{ignored}{squeezed}."


class Entry(NamedTuple):
    """An image with its label."""

    member: str
    label: int
    split: Split | None
    """None where the source tells none."""
    box: Box | None = None
    """Where the face is, where the source tells it."""
    name: str = ""
    """What the face is called; by default as its image."""


@dataclass(frozen=True)
class Listing:
    """The labelled images of a source."""

    entries: list[Entry]
    dropped: dict[str, int] = field(default_factory=dict)
    """Images per label, lower case, that is none of the seven emotions."""
    photos: bool = False
    """Faces are looked for; otherwise an image is a face, or has a box."""
    hold_out: bool = True
    """Where there are no validation faces, take some from those to train on."""
    ignored: tuple[str, ...] = ()
    """Images that lie beside those of the listing, where none are looked for."""


def with_splits(entries: list[Entry]) -> list[Entry]:
    """Give every entry a split: where there is none, a tenth each is val and test, and where there
    is no val, a tenth of train is."""
    if all(entry.split is None for entry in entries):
        return _held_out(_held_out(entries, "test"), "val")
    told = [entry._replace(split=entry.split or "train") for entry in entries]
    return told if any(entry.split == "val" for entry in told) else _held_out(told, "val")


def _held_out(entries: list[Entry], split: Split) -> list[Entry]:
    free = [i for i, entry in enumerate(entries) if entry.split in (None, "train")]
    chosen = choose_held_out(
        [entries[i].name or entries[i].member for i in free], [entries[i].label for i in free]
    )
    held = {free[i] for i in chosen}
    return [
        entry._replace(split=split)
        if i in held
        else entry._replace(split=entry.split or ("train" if split == "val" else None))
        for i, entry in enumerate(entries)
    ]


def read_listing(
    source: Source,
    listing: Listing,
    progress: Progress | None = None,
    *,
    contract: Contract = FER2013,
    only: Split | None = None,
) -> tuple[dict[Split, FaceDataset], LegendReport | None]:
    """Decode the images of a listing.

    Parameters
    ----------
    source : Source
    listing : Listing
    progress : callable, optional
    contract : Contract
        Whose size and colour the faces are to have.
    only : Split, optional
        Leave the others out: faces of 224 pixels take 150 kB each.

    Returns
    -------
    dict of Split to FaceDataset
        Splits without faces are left out; faces keep the order of the listing.
    LegendReport or None
        None where nothing was dropped, ignored or squeezed and no face looked for.

    Raises
    ------
    DataError
        A file that is no image.
    MissingDependencyError
        Faces are to be found, and what makes the detector is not installed.
    """
    entries = with_splits(listing.entries) if listing.hold_out else listing.entries
    entries = [entry for entry in entries if only in (None, entry.split)]
    faces = np.empty((len(entries), *contract.crop_shape), np.uint8)
    counts: Counter[str] = Counter()
    for i, entry in enumerate(entries):
        with source.open(entry.member) as stream:
            data = stream.read()
        where = source.where(entry.member)
        faces[i] = _face(data, where, entry.box, listing.photos, contract, counts)
        if progress is not None and ((i + 1) % _FACES_PER_REPORT == 0 or i + 1 == len(entries)):
            progress(i + 1, len(entries))
    labels = np.array([entry.label for entry in entries], np.int64)
    names = np.array([entry.name or entry.member for entry in entries])
    splits = np.array([entry.split for entry in entries])
    datasets = {
        split: FaceDataset.from_arrays(faces[chosen], labels[chosen], split, names=names[chosen])
        for split in SPLITS
        if (chosen := splits == split).any()
    }
    if not (listing.dropped or listing.photos or listing.ignored or any(counts.values())):
        return datasets, None
    return datasets, LegendReport(
        len(entries),
        listing.dropped,
        counts["without face"],
        len(listing.ignored),
        listing.ignored[0] if listing.ignored else "",
        counts["squeezed"],
    )


def _face(
    data: bytes,
    where: str,
    box: Box | None,
    photo: bool,
    contract: Contract,
    counts: Counter[str],
) -> NDArray[np.uint8]:
    if box is not None:
        with open_image(data, where) as image:
            return to_face(crop_face(in_color(image, contract), box), contract)
    if photo:
        face, found = decode_photo(data, where, contract)
        counts["without face"] += not found
        return face
    face, square = decode_face(data, where, contract)
    counts["squeezed"] += not square
    return face


def images_by_name(source: Source) -> dict[str, list[PurePosixPath]]:
    """The images of a source by their file names."""
    paths: dict[str, list[PurePosixPath]] = {}
    for path in map(PurePosixPath, source.members):
        if path.suffix.lower() in SUFFIXES:
            paths.setdefault(path.name, []).append(path)
    return paths


def best_matches(
    name: PurePosixPath, folder: PurePosixPath, paths: list[PurePosixPath]
) -> list[PurePosixPath]:
    """Return those of ``paths`` that ``name``, written in a file in ``folder``, can mean."""
    if folder / name in paths:
        return [folder / name]

    def agreement(path: PurePosixPath) -> int:
        pairs = zip(reversed(path.parts), reversed(name.parts), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    most = max(map(agreement, paths), default=0)
    return [path for path in paths if agreement(path) == most]
