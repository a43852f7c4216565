"""From a path to a data set."""

import dataclasses
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from fer_edge.contract import EMOTIONS, FER2013, Contract
from fer_edge.data.cache import Decoded, Kind, cached
from fer_edge.data.dataset import FaceDataset
from fer_edge.data.ferplus import apply_votes, read_votes
from fer_edge.data.image_folder import find_emotions, find_splits, refuse_folders
from fer_edge.data.labels import SPLITS, Split
from fer_edge.data.legend import find_legend, is_legend, tell_columns
from fer_edge.data.list_file import find_list
from fer_edge.data.listing import LegendReport, Listing, Progress, read_listing
from fer_edge.data.named_images import find_named
from fer_edge.data.numbering import Numbering, parse_numbering
from fer_edge.data.pixel_csv import find_csv, fit_faces, read_csv
from fer_edge.data.relabel import own_labels, relabel
from fer_edge.data.sources import CSV_NAMES, LoneFile, Source, open_source
from fer_edge.errors import DataError, UsageError
from fer_edge.files import cache_folder

READERS: tuple[Callable[[Source, Numbering | None, tuple[str, ...]], Listing | None], ...] = (
    find_splits,
    find_legend,
    find_list,
    find_emotions,
    find_named,
)
"""What images can be laid out as; the first that finds its own reads them."""


def load_dataset(
    source: str | Path,
    split: Split,
    *,
    fer_plus: str | Path | None = None,
    soft: bool = False,
    labels: str | None = None,
    shared: bool = False,
    contract: Contract = FER2013,
    cache: bool = True,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> FaceDataset:
    """Read one split of FER2013, or of a data set in one of its layouts, for a model.

    Parameters
    ----------
    source : path
        ``fer2013.csv``, ``icml_face_data.csv`` or another csv with their columns, images in
        ``train/<emotion>/`` and ``test/<emotion>/``, or in ``<emotion>/`` alone, images with a csv
        or a list that names them and their emotions (:mod:`fer_edge.data.legend`,
        :mod:`fer_edge.data.list_file`), images named as JAFFE's or KDEF's, or a folder, zip or tar
        that holds one of them.
    split : {"train", "val", "test"}
        Training, PublicTest and PrivateTest of FER2013. Where an archive has no validation
        faces and its file names carry no split, ``val`` is a fixed tenth of every emotion of
        ``train``; where it has no splits at all, ``test`` is another tenth.
    fer_plus : path, optional
        Votes of FER+ (``fer2013new.csv``), which replace the labels of a csv source.
    soft : bool
        Give the shares of the votes as ``soft_labels``, too.
    labels : str, optional
        What numbers mean where a source has them in the place of emotions: one of
        :data:`fer_edge.data.numbering.NUMBERINGS`, or ``0=angry,1=disgust`` and so on.
    shared : bool
        Other sources are read with the same ``labels``: those of ``fer2013.csv`` and
        ``icml_face_data.csv`` then keep the meaning that they have by themselves.
    contract : Contract
        Of the model that the faces are for. Faces have its size and colour, made from the file's
        own pixels, and labels are numbers of its labels. What it has no label for is left out, and
        counted in ``left_out``. By default as the networks of this package have it.
    cache : bool
        Decode once into the cache and map it into memory afterwards.
    cache_dir : Path, optional
        Default: ``$FER_EDGE_CACHE``, or the user's cache folder.
    progress : callable, optional
        Called with work done and work in all (images or bytes) while a source is decoded.

    Raises
    ------
    UsageError
        An unknown split, ``soft`` without ``fer_plus``, or ``labels`` that mean nothing.
    DataError
        The source is missing, damaged or foreign, or has no faces in ``split``.
    MissingDependencyError
        The source holds photos to find faces in, and what makes the detector is not installed.
    StorageError
        The cache cannot be written.

    References
    ----------
    Goodfellow et al., "Challenges in Representation Learning: A report on three machine learning
    contests", ICONIP 2013 (FER2013).
    """
    if split not in SPLITS:
        raise UsageError(f"There is no split {split!r}.", hint=f"Choose from {', '.join(SPLITS)}.")
    if soft and fer_plus is None:
        raise UsageError("Soft labels come from FER+ votes.", hint="Give fer2013new.csv, too.")
    folder = cache_dir or cache_folder() if cache else None
    with open_source(Path(source)) as opened:
        wanted = _wanted(opened, labels, shared, contract, split)
        kind, splits, _ = _read(opened, wanted, folder, progress)
        if split not in splits:
            kind, splits, _ = _read(opened, _Wanted(wanted.labels, shared=shared), folder, progress)
            have = ", ".join(f"{name} ({len(data):,})" for name, data in splits.items())
            raise DataError(
                f"{source} has no faces in split {split}; it has {have}.",
                hint="Choose one of these where there is a --split, or make another: "
                + _MAKE[kind],
            )
    data = splits[split]
    if fer_plus is not None:
        if kind != "csv":
            raise DataError(
                f"FER+ votes are joined to FER2013 by row, and {source} holds images.",
                hint="Give fer2013.csv or icml_face_data.csv.",
            )
        data = apply_votes(data, read_votes(Path(fer_plus), split), str(fer_plus), soft=soft)
    return relabel(data, contract.labels)


def describe_source(
    source: str | Path,
    *,
    labels: str | None = None,
    shared: bool = False,
    contract: Contract = FER2013,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> LegendReport | None:
    """Tell what reading a source left out; from the cache once :func:`load_dataset` has filled it.

    Parameters are as for :func:`load_dataset`, and so is what is raised. For a contract of another
    size or colour, faces are those of train alone.

    Returns
    -------
    LegendReport or None
        None where nothing was left out and no face looked for.
    """
    with open_source(Path(source)) as opened:
        wanted = _wanted(opened, labels, shared, contract, "train")
        return _read(opened, wanted, cache_dir or cache_folder(), progress).report


_MAKE: Final[dict[Kind, str]] = {
    "csv": "name it in the column Usage (Training, PublicTest or PrivateTest), or remove that "
    "column, and a tenth of every emotion is val and another test.",
    "images": "name it in a column split (train, val or test) of the csv that names the images, or "
    "put them into folders train/, val/ and test/.",
}
"""What gives a source another split."""


class _Wanted(NamedTuple):
    """What is to be read of a source."""

    labels: str | None
    extra: tuple[str, ...] = ()
    """Labels to keep beside the seven emotions."""
    contract: Contract = FER2013
    """Its size and colour."""
    only: Split | None = None
    shared: bool = False
    """The labels are said of several sources."""

    @property
    def key(self) -> str:
        """What the faces depend on beside the source."""
        key = f":{self.labels}{' shared' if self.shared else ''}" if self.labels else ""
        if self.extra:
            key += f":with {','.join(self.extra)}"
        if self.only is not None:
            key += f":{self.contract.color} {self.contract.size} {self.only}"
        return key


def _wanted(
    source: Source, labels: str | None, shared: bool, contract: Contract, split: Split
) -> _Wanted:
    # Here, as the cache knows a file by what is in it and not by its name.
    if shared and source.csv and PurePosixPath(source.csv).name.lower() in CSV_NAMES:
        labels = None
    # At other sizes faces take much memory, and so only those asked for are made.
    only = split if contract.face_shape != FER2013.face_shape else None
    return _Wanted(labels, own_labels(contract), contract, only, shared)


def _read(
    source: Source, wanted: _Wanted, folder: Path | None, progress: Progress | None
) -> Decoded:
    """Read a source, through the cache in ``folder`` if there is one."""
    if folder is None:
        return _decode(source, wanted, progress)
    return cached(
        folder,
        source.fingerprint() + wanted.key,
        lambda: _decode(source, wanted, progress),
        face=wanted.contract.crop_shape,
        classes=(*EMOTIONS, *wanted.extra),
    )


def _decode(source: Source, wanted: _Wanted, progress: Progress | None) -> Decoded:
    decoded = _decoded(source, wanted, progress)
    classes = (*EMOTIONS, *wanted.extra)
    splits = {
        split: dataclasses.replace(data, classes=classes) for split, data in decoded.splits.items()
    }
    return decoded._replace(splits=splits)


def _decoded(source: Source, wanted: _Wanted, progress: Progress | None) -> Decoded:
    numbering = None if wanted.labels is None else parse_numbering(wanted.labels)
    lone = isinstance(source, LoneFile)
    if lone and is_legend(source, source.members[0]):
        raise DataError(
            f"{source.where(source.members[0])} names images, and is given without them.",
            hint="Give the folder or zip that holds it and the images.",
        )
    name = find_csv(source)
    if name is not None:
        where = source.where(name)
        with source.open(name) as stream:
            splits, dropped = read_csv(
                *(stream, where, source.size(name), progress, numbering, wanted.extra),
                shared=wanted.shared,
            )
        if not splits:
            raise DataError(f"{where} holds no faces.", hint="Get the file again.")
        count = sum(map(len, splits.values()))
        splits = {
            split: fit_faces(data, wanted.contract)
            for split, data in splits.items()
            if wanted.only in (None, split)
        }
        return Decoded("csv", splits, LegendReport(count, dropped, 0) if dropped else None)
    for find in READERS:
        if (listing := find(source, numbering, wanted.extra)) is not None:
            if not listing.entries:
                raise DataError(
                    f"{source.path} has no image of one of the seven emotions, only of "
                    f"{', '.join(listing.dropped)}.",
                    hint=f"Those are {', '.join(EMOTIONS)}.",
                )
            found = read_listing(
                source, listing, progress, contract=wanted.contract, only=wanted.only
            )
            return Decoded("images", *found)
    refuse_folders(source, numbering)
    raise _no_faces(source)


def _no_faces(source: Source) -> DataError:
    columns = tell_columns(source)
    return DataError(
        f"{source.path} holds no faces: neither fer2013.csv, nor images in train/<emotion>/ and "
        "test/<emotion>/ or in <emotion>/, nor a csv or list that names images and emotions, nor "
        f"images named as JAFFE's or KDEF's{f'; {columns}' if columns else ''}.",
        hint="Give the folder, zip, tar or csv itself, not what it is packed in.",
    )
