"""Finds what is in a data set: classes, light, copies, and labels that are likely wrong."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_edge.contract import EMOTIONS
from fer_edge.data.dataset import FaceDataset
from fer_edge.data.duplicates import (
    DuplicateGroup,
    Progress,
    blank,
    contrast,
    find_duplicates,
    first_copies,
)
from fer_edge.data.labels import SPLITS, Split
from fer_edge.data.report import (
    REASONS,
    ClassSummary,
    Copy,
    DataReport,
    DuplicateSummary,
    FlaggedFace,
    Reason,
    SplitSummary,
    Spread,
)
from fer_edge.errors import DataError, InputError

Probabilities = NDArray[np.float32]
BINS: Final = 32
_GRAYS: Final = 256


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
