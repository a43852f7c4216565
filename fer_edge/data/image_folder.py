"""Images in a folder per emotion: ``[prefix/][<split>/]<emotion>/<name>.jpg``."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from fer_edge.contract import EMOTIONS
from fer_edge.data.labels import SPLIT_FOLDERS, USAGES, Split, emotion_label, is_other
from fer_edge.data.listing import Entry, Listing
from fer_edge.data.numbering import NUMBERINGS, Numbering, is_number, named
from fer_edge.data.sources import Source
from fer_edge.errors import DataError
from fer_edge.pixels.image_file import SUFFIXES

_RAF_DB_NAME = re.compile(r"(train|test)_\d{4,5}(_aligned)?\.\w+")


class _Place(NamedTuple):
    """What the path of an image says about it."""

    member: str
    root: tuple[str, ...]
    """Folders above those of the split and the emotion."""
    split: Split | None
    official: bool
    """The file name carries a split of FER2013."""
    emotion: str


def find_splits(
    source: Source, numbering: Numbering | None = None, extra: tuple[str, ...] = ()
) -> Listing | None:
    """List images in ``<split>/<emotion>/``; None where no folder is one of the seven emotions.

    Names like ``PublicTest_123.jpg`` decide the split, whatever folder they are in. Where no name
    does and there is no validation folder, validation is taken from train. What lies in the folder
    of another label, such as contempt, is dropped and counted.

    Raises
    ------
    DataError
        A folder that is no label, or two archives side by side.
    """
    places = [place for member in source.members if (place := _in_split(member))]
    numbering = numbering or _raf_db(places)
    if not _labels(places, numbering):
        return None
    return _listing(source, places, numbering, extra)


def find_emotions(
    source: Source, numbering: Numbering | None = None, extra: tuple[str, ...] = ()
) -> Listing | None:
    """List images in ``<emotion>/`` without splits, as CK+48 has them; else as find_splits.

    Two emotions at least make it such a source.
    """
    found = [place for member in source.members if (place := _in_folder(member))]
    known = [place for place in found if _is_label(place, numbering)]
    if len(_labels(known, numbering)) < 2:
        return None
    # What lies beside folders of emotions is meant to be one.
    roots = {place.root for place in known}
    return _listing(source, [place for place in found if place.root in roots], numbering, extra)


def refuse_folders(source: Source, numbering: Numbering | None = None) -> None:
    """Raise DataError that names the first image in ``<split>/<label>/`` with an unknown label."""
    if places := [place for member in source.members if (place := _in_split(member))]:
        _listing(source, places, numbering)


def holds_emotion_folders(source: Source, numbering: Numbering | None = None) -> bool:
    """Tell whether an image lies in the folder of one of the seven emotions in a split."""
    places = [place for member in source.members if (place := _in_split(member))]
    return bool(_labels(places, numbering or _raf_db(places)))


def _listing(
    source: Source,
    places: list[_Place],
    numbering: Numbering | None,
    extra: tuple[str, ...] = (),
) -> Listing:
    # A well-known archive on Kaggle holds itself a second time, one folder deeper.
    depth = min(len(place.root) for place in places)
    deeper = [place for place in places if len(place.root) > depth]
    places = [place for place in places if len(place.root) == depth]
    roots = sorted({"/".join(place.root) for place in places})
    if len(roots) > 1:
        raise DataError(
            f"{source.path} holds several data sets: {', '.join(roots)}.",
            hint="Give one of these folders.",
        )
    places.sort(key=lambda place: (PurePosixPath(place.member).name, place.member))
    entries: list[Entry] = []
    dropped: Counter[str] = Counter()
    for place in places:
        name = named(place.emotion, numbering)
        label = emotion_label(name, extra)
        if label is not None:
            entries.append(Entry(place.member, label, place.split))
        elif is_other(name):
            dropped[name.strip().lower()] += 1
        else:
            raise _unknown(source, place, numbering)
    told = any(place.official or place.split == "val" for place in places)
    return Listing(
        entries, dict(dropped), hold_out=not told, ignored=_ignored(source, places, deeper)
    )


def _ignored(source: Source, read: list[_Place], deeper: list[_Place]) -> tuple[str, ...]:
    """Images that are neither read nor copies of those that are."""
    known = {_tail(place) for place in read}
    members = {place.member for place in read}
    members.update(place.member for place in deeper if _tail(place) in known)
    images = [name for name in source.members if PurePosixPath(name).suffix.lower() in SUFFIXES]
    return tuple(name for name in images if name not in members)


def _tail(place: _Place) -> tuple[str, ...]:
    """A place below its root."""
    return PurePosixPath(place.member).parts[len(place.root) :]


def _unknown(source: Source, place: _Place, numbering: Numbering | None) -> DataError:
    where = f"{source.where(place.member)} lies in {place.emotion!r}"
    if is_number(place.emotion) and numbering is not None:
        return DataError(
            f"{where}, and the labels have a meaning for {', '.join(map(str, numbering))} alone.",
            hint="Give other --labels, or remove that folder.",
        )
    if is_number(place.emotion):
        return DataError(
            f"{where}, and every data set numbers emotions in an order of its own.",
            hint=f"Say which: --labels {', '.join(NUMBERINGS)}, or 0=angry,1=disgust and so on.",
        )
    return DataError(
        f"{where}, which is none of {', '.join(EMOTIONS)}.", hint="Rename or remove that folder."
    )


def _in_split(member: str) -> _Place | None:
    place = _in_folder(member)
    if place is None:
        return None
    above = place.root
    usage = USAGES.get(PurePosixPath(member).name.partition("_")[0].lower())
    folder = SPLIT_FOLDERS.get(above[-1].lower()) if above else None
    split = usage or folder
    if split is None:
        return None
    root = above[:-1] if folder else above
    return place._replace(root=root, split=split, official=usage is not None)


def _in_folder(member: str) -> _Place | None:
    path = PurePosixPath(member)
    if path.suffix.lower() not in SUFFIXES or len(path.parts) < 2:
        return None
    *above, emotion, _ = path.parts
    return _Place(member, tuple(above), None, False, emotion)


def _labels(places: Iterable[_Place], numbering: Numbering | None) -> set[int]:
    found = {emotion_label(named(place.emotion, numbering)) for place in places}
    return {label for label in found if label is not None}


def _is_label(place: _Place, numbering: Numbering | None) -> bool:
    name = named(place.emotion, numbering)
    return emotion_label(name) is not None or is_other(name)


def _raf_db(places: list[_Place]) -> Numbering | None:
    """RAF-DB's numbers, where all files are named as its are."""
    numbers = NUMBERINGS["raf-db"]
    like = all(
        is_number(place.emotion)
        and int(float(place.emotion)) in numbers
        and _RAF_DB_NAME.fullmatch(PurePosixPath(place.member).name)
        for place in places
    )
    return numbers if places and like else None
