"""What is in a data set: classes, light, copies, and labels that are likely wrong."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import pydantic
from numpy.typing import NDArray

from fer_edge.contract import EMOTIONS
from fer_edge.data.dataset import FaceDataset
from fer_edge.data.duplicates import (
    DuplicateGroup,
    Kind,
    Progress,
    blank,
    contrast,
    find_duplicates,
    first_copies,
)
from fer_edge.data.labels import SPLITS, Split
from fer_edge.errors import DataError, InputError, UsageError
from fer_edge.files import storage_errors, write_text

Probabilities = NDArray[np.float32]
Reason = Literal["duplicate", "cross-split", "label-conflict", "mislabelled", "blank"]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
"""Why a face is flagged.

``duplicate``: a copy of an earlier face of its split; the first of them is not flagged.
``cross-split``: another split has a copy. ``label-conflict``: a copy has another label.
``mislabelled``: a model is surer of another label. ``blank``: an image of one gray, or nearly.
"""

SCHEMA: Final = 1
BINS: Final = 32
_GRAYS: Final = 256


class _Record(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class Spread(_Record):
    """Mean and standard deviation over faces, in gray levels 0..255."""

    mean: float
    std: float


class ClassSummary(_Record):
    """The faces of one emotion in one split."""

    faces: int
    brightness: Spread | None
    """Of the mean gray level of a face; None without faces."""
    contrast: Spread | None
    """Of the standard deviation of a face's gray levels; None without faces."""
    threshold: float | None
    """Mean probability that the model gives this label on faces that carry it, 0..1."""


class SplitSummary(_Record):
    """One split."""

    faces: int
    fingerprint: str
    brightness: Spread
    contrast: Spread
    brightness_histogram: list[int]
    """Faces per bin of 8 gray levels of their mean."""
    classes: dict[str, ClassSummary]
    accuracy: float | None
    """Share of faces to which the model gives the label that they carry, 0..1."""
    flagged: dict[Reason, int]
    """Flagged faces per reason; a face can have several."""


class Copy(_Record):
    """A face of a group of duplicates."""

    split: Split
    index: int
    label: str


class DuplicateSummary(_Record):
    """A group of duplicates, see :class:`fer_edge.data.duplicates.DuplicateGroup`."""

    kind: Kind
    correlation: float
    cross_split: bool
    label_conflict: bool
    faces: list[Copy]


class FlaggedFace(_Record):
    """A face that training may leave out or weigh down."""

    split: Split
    index: int
    name: str | None
    reasons: list[Reason]
    label: str
    suggested: str | None
    """The model's label where it is surer of that, else the one that most copies carry."""
    self_confidence: float | None
    """Probability that the model gives ``label``, 0..1; None without a model."""
    confidence: float | None
    """Probability that the model gives ``suggested``, 0..1."""


class DataReport(_Record):
    """What :func:`analyse` finds; ``model_json_schema()`` is the schema of its file."""

    schema_version: Literal[1] = SCHEMA
    source: str
    model: str | None
    """The model whose probabilities flagged mislabelled faces; None without."""
    splits: dict[Split, SplitSummary]
    exact_copies: int
    """Faces with the pixels of an earlier one, in any split; blank ones are not counted."""
    near_copies: int
    """Faces that are near or mirrored copies of an earlier one, exact copies not counted."""
    duplicates: list[DuplicateSummary]
    faces: list[FlaggedFace]
    """By split and index."""

    @classmethod
    def load(cls, path: Path) -> "DataReport":
        """Read what :meth:`save` wrote.

        Raises
        ------
        StorageError
            The file cannot be read.
        DataError
            It is no report, or one of another version.
        """
        with storage_errors(path):
            text = path.read_bytes()
        try:
            return cls.model_validate_json(text)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise DataError(
                f"{path} is not a data report: {f'{place}: ' if place else ''}{first['msg']}.",
                hint="Write one with: fer-edge data FER2013 --out report.json",
            ) from error

    def save(self, path: Path) -> None:
        """Write JSON; StorageError where that fails."""
        write_text(path, self.model_dump_json(indent=1) + "\n")

    def mislabelled(self) -> list[FlaggedFace]:
        """Faces flagged as mislabelled, the one whose label the model believes least first."""
        found = [face for face in self.faces if "mislabelled" in face.reasons]
        return sorted(found, key=lambda face: face.self_confidence or 0.0)


def analyse(
    splits: Mapping[Split, FaceDataset],
    probabilities: Mapping[Split, Probabilities] | None = None,
    *,
    source: str = "",
    model: str | None = None,
    progress: Progress | None = None,
) -> DataReport:
    """Analyse the splits of one data set together.

    Copies are what :func:`fer_edge.data.duplicates.find_duplicates` finds. A face is likely
    mislabelled where :func:`likely_labels` differs from its label. On the split that the model
    was trained on, its probabilities lean towards the labels, wrong ones included: fewer faces
    are flagged there than there are, unless the probabilities come from cross-validation.

    Parameters
    ----------
    splits : mapping of split to FaceDataset
        Not empty, and no split of it is.
    probabilities : mapping of split to float32 array, shape (N, 7), optional
        A model's answers; splits may be missing.
    source, model : str, optional
        Names for the report.
    progress : callable, optional
        Called with the faces compared and the faces in all.

    Raises
    ------
    DataError
        There are no faces.
    InputError
        Probabilities are for another number of faces.
    """
    ordered = {split: splits[split] for split in SPLITS if split in splits}
    if not ordered or not all(map(len, ordered.values())):
        raise DataError("There are no faces to analyse.", hint="Give a data set with faces.")
    answers = dict(probabilities or {})
    for split, values in answers.items():
        if values.shape != (n := len(ordered[split]), len(EMOTIONS)):
            raise InputError(f"Probabilities are {values.shape}, split {split} has {n} faces.")

    faces = np.concatenate([data.faces for data in ordered.values()])
    labels = np.concatenate([data.labels for data in ordered.values()])
    owners = [split for split, data in ordered.items() for _ in range(len(data))]
    starts = dict(zip(ordered, np.cumsum([0, *map(len, ordered.values())]).tolist(), strict=False))
    groups = find_duplicates(faces, progress=progress)
    empty = blank(faces)

    reasons: dict[int, set[Reason]] = {}
    suggested: dict[int, int] = {}
    for group in groups:
        _flag_copies(group, owners, labels, reasons, suggested)
    for i in np.flatnonzero(empty).tolist():
        reasons.setdefault(i, set()).add("blank")
    for split, values in answers.items():
        likely = likely_labels(values, ordered[split].labels)
        for i in np.flatnonzero(likely != ordered[split].labels).tolist():
            reasons.setdefault(starts[split] + i, set()).add("mislabelled")
            suggested[starts[split] + i] = int(likely[i])

    flagged_faces = []
    for i in sorted(reasons):
        split, index = owners[i], i - starts[owners[i]]
        names = ordered[split].names
        answer = answers[split][index] if split in answers else None
        label, other = int(labels[i]), suggested.get(i)
        flagged_faces.append(
            FlaggedFace(
                split=split,
                index=index,
                name=None if names is None else str(names[index]),
                reasons=[reason for reason in REASONS if reason in reasons[i]],
                label=EMOTIONS[label],
                suggested=None if other is None else EMOTIONS[other],
                self_confidence=None if answer is None else _rounded(answer[label]),
                confidence=None if answer is None or other is None else _rounded(answer[other]),
            )
        )
    counts = Counter((face.split, reason) for face in flagged_faces for reason in face.reasons)
    copies = sum(len(group.members) - 1 for group in groups)
    exact = int(((first_copies(faces) != np.arange(len(faces))) & ~empty).sum())
    return DataReport(
        source=source,
        model=model,
        splits={
            split: _summary(
                data, answers.get(split), {reason: counts[split, reason] for reason in REASONS}
            )
            for split, data in ordered.items()
        },
        exact_copies=exact,
        near_copies=copies - exact,
        duplicates=[_duplicates(group, owners, labels, starts) for group in groups],
        faces=flagged_faces,
    )


def likely_labels(probabilities: Probabilities, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels that confident learning counts the faces as.

    The threshold of a class is the mean probability that the model gives it on faces that carry
    it. A face counts as the most probable class among those whose threshold it reaches, and keeps
    its label where it reaches none.

    Parameters
    ----------
    probabilities : float32 array, shape (N, 7)
        Best from models that were not trained on these faces.
    labels : int64 array, shape (N,)

    Returns
    -------
    int64 array, shape (N,)

    References
    ----------
    Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
    JAIR 70 (2021), arXiv:1911.00068, section 3.1.
    """
    thresholds = _thresholds(probabilities, labels)
    reached = np.where(probabilities >= thresholds, probabilities, -1)
    return np.where((reached >= 0).any(axis=1), reached.argmax(axis=1), labels)


def flagged(
    report: DataReport, dataset: FaceDataset, reasons: Sequence[str] | None = None
) -> NDArray[np.bool_]:
    """Tell which faces of ``dataset`` a report flags: what training leaves out or weighs down.

    Parameters
    ----------
    report : DataReport
    dataset : FaceDataset
        One of the splits that were analysed.
    reasons : sequence of str, optional
        Those of :data:`REASONS` that count; default: all.

    Returns
    -------
    bool array, shape (N,)

    Raises
    ------
    UsageError
        An unknown reason, or ``mislabelled`` from a report without a model.
    DataError
        The report is for other faces or labels.
    """
    wanted = REASONS if reasons is None else reasons
    for reason in wanted:
        if reason not in REASONS:
            raise UsageError(
                f"There is no reason {reason!r} to flag a face.",
                hint=f"Choose from {', '.join(REASONS)}.",
            )
    if reasons is not None and "mislabelled" in reasons and report.model is None:
        raise UsageError(
            "The data report names no mislabelled faces: it was made without a model.",
            hint="Make it again without --no-model.",
        )
    summary = report.splits.get(dataset.split)
    if summary is None or summary.fingerprint != dataset.fingerprint:
        raise DataError(
            f"The data report on {report.source or 'other data'} is not for these "
            f"{len(dataset):,} faces of split {dataset.split}.",
            hint="Make one for them with: fer-edge data FER2013 --out report.json",
        )
    mask = np.zeros(len(dataset), np.bool_)
    for face in report.faces:
        if face.split == dataset.split and set(wanted) & set(face.reasons):
            if not 0 <= face.index < len(dataset):
                raise DataError(
                    f"The data report flags face {face.index:,} of split {face.split}, which has "
                    f"{len(dataset):,}.",
                    hint="Make it again with: fer-edge data FER2013 --out report.json",
                )
            mask[face.index] = True
    return mask


def _flag_copies(
    group: DuplicateGroup,
    owners: Sequence[Split],
    labels: NDArray[np.int64],
    reasons: dict[int, set[Reason]],
    suggested: dict[int, int],
) -> None:
    members = list(group.members)
    seen: set[Split] = set()
    votes = Counter(labels[members].tolist())
    winner, most = votes.most_common(1)[0]
    for i in members:
        found = reasons.setdefault(i, set())
        if owners[i] in seen:
            found.add("duplicate")
        seen.add(owners[i])
        if len(votes) > 1:
            found.add("label-conflict")
            if 2 * most > len(members) and winner != labels[i]:
                suggested[i] = winner
    if len(seen) > 1:
        for i in members:
            reasons[i].add("cross-split")
    for i in members:
        if not reasons[i]:
            del reasons[i]


def _duplicates(
    group: DuplicateGroup,
    owners: Sequence[Split],
    labels: NDArray[np.int64],
    starts: Mapping[Split, int],
) -> DuplicateSummary:
    copies = [
        Copy(split=owners[i], index=i - starts[owners[i]], label=EMOTIONS[labels[i]])
        for i in group.members
    ]
    return DuplicateSummary(
        kind=group.kind,
        correlation=_rounded(group.correlation),
        cross_split=len({copy.split for copy in copies}) > 1,
        label_conflict=len({copy.label for copy in copies}) > 1,
        faces=copies,
    )


def _summary(
    data: FaceDataset, probabilities: Probabilities | None, counts: dict[Reason, int]
) -> SplitSummary:
    brightness = np.array([face.mean() for face in data.faces])
    contrasts = contrast(data.faces)
    thresholds = None if probabilities is None else _thresholds(probabilities, data.labels)
    classes = {}
    for label, (emotion, n) in enumerate(data.counts().items()):
        own = data.labels == label
        classes[emotion] = ClassSummary(
            faces=n,
            brightness=_spread(brightness[own]) if n else None,
            contrast=_spread(contrasts[own]) if n else None,
            threshold=_rounded(thresholds[label]) if thresholds is not None and n else None,
        )
    return SplitSummary(
        faces=len(data),
        fingerprint=data.fingerprint,
        brightness=_spread(brightness),
        contrast=_spread(contrasts),
        brightness_histogram=np.histogram(brightness, BINS, (0, _GRAYS))[0].tolist(),
        classes=classes,
        accuracy=None
        if probabilities is None
        else _rounded((probabilities.argmax(axis=1) == data.labels).mean()),
        flagged=counts,
    )


def _thresholds(probabilities: Probabilities, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean self-confidence per class, shape (7,); out of reach for a class without faces."""
    own = probabilities[np.arange(len(labels)), labels]
    totals = np.bincount(labels, own, len(EMOTIONS))
    counts = np.bincount(labels, minlength=len(EMOTIONS))
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.inf)


def _spread(values: NDArray[np.floating]) -> Spread:
    return Spread(mean=round(float(values.mean()), 2), std=round(float(values.std()), 2))


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 4)
