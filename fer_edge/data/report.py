"""The report on a data set: a record of what was found, and the faces that it flags."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import pydantic
from numpy.typing import NDArray

from fer_edge.data.dataset import FaceDataset
from fer_edge.data.duplicates import Kind
from fer_edge.data.labels import Split
from fer_edge.errors import DataError, UsageError
from fer_edge.files import storage_errors, write_text

Reason = Literal["duplicate", "cross-split", "label-conflict", "mislabelled", "blank"]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
"""Why a face is flagged.

``duplicate``: a copy of an earlier face of its split; the first of them is not flagged.
``cross-split``: another split has a copy. ``label-conflict``: a copy has another label.
``mislabelled``: a model is surer of another label. ``blank``: an image of one gray, or nearly.
"""

SCHEMA: Final = 1


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
    """What :func:`fer_edge.data.analysis.analyse` finds.

    ``model_json_schema()`` is the schema of its file.
    """

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
