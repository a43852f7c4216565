"""The artifact of a detector: a folder of graphs for frames of several sizes."""

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from fer_edge import sealed
from fer_edge.artifact import CalibrationRecord, EngineRecord, GraphRecord, now
from fer_edge.contract import Precision
from fer_edge.detector_contract import DETECTOR, Bucket, bucket_of
from fer_edge.errors import ArtifactError
from fer_edge.sealed import Record, SealedFolder, SealedManifest, seal_manifest

COMMAND = "fer-edge detector"
"""Makes an artifact."""


def _size(text: str) -> str:
    return str(bucket_of(text))


Size = Annotated[str, pydantic.AfterValidator(_size)]
"""A bucket as manifests have it: ``640x480``."""
_Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class DetectorEngineRecord(EngineRecord):
    """A serialised engine for frames of one size."""

    size: Size


class DetectionScore(Record):
    """How one precision finds faces, beside FP32 and beside what is known."""

    frames: int
    """Frames of the size, made of faces of a data set, at known places."""
    faces: int
    """Faces in them."""
    found: _Share
    """Share of these faces that a box covers (intersection over union at least 0.5)."""
    average_precision: _Share
    """Area under precision over recall, of all boxes ranked by their scores."""
    false: int
    """Boxes that cover no face."""
    fp32: int | None = None
    """Faces that FP32 finds; of precisions below it only, as what follows."""
    matched: _Share | None = None
    """Share of FP32's faces found again, with intersection over union at least 0.7."""
    further: int | None = None
    """Boxes that match none of FP32's."""
    data: str
    """Fingerprint of the data set."""
    backend: str
    """What ran the graph."""


class DetectorManifest(SealedManifest):
    """Everything about a detector that a person or a program asks before running it."""

    kind: Literal["detector"] = DETECTOR
    created: str = pydantic.Field(default_factory=now)
    weights: str
    """SHA-256 of the file of weights."""
    parameters: int
    multiply_adds: dict[Size, int]
    """For one frame."""
    graphs: dict[Precision, dict[Size, GraphRecord]]
    calibration: CalibrationRecord | None = None
    engines: list[DetectorEngineRecord] = []
    scores: dict[Precision, DetectionScore] = {}

    def named(self) -> list[str]:
        records = [record for sizes in self.graphs.values() for record in sizes.values()]
        names = [name for record in records for name in (record.file, record.cpu_file)]
        names += [engine.file for engine in self.engines]
        if self.calibration is not None:
            names.append(self.calibration.file)
        return [name for name in names if name is not None]


class DetectorArtifact(SealedFolder[DetectorManifest]):
    """The artifact of a detector; see :class:`fer_edge.sealed.SealedFolder`."""

    kind = sealed.DETECTOR
    manifest_type = DetectorManifest

    @property
    def precisions(self) -> tuple[Precision, ...]:
        return tuple(self.manifest.graphs)

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """Sizes of frames that it has FP32 graphs for, the smallest first."""
        sizes = map(bucket_of, self.manifest.graphs.get("fp32", {}))
        return tuple(sorted(sizes, key=lambda size: (size.width * size.height, size)))

    def graph(self, precision: Precision, bucket: Bucket) -> GraphRecord:
        """The graph at ``precision`` for frames of one size.

        Raises
        ------
        ArtifactError
            It was made without the precision or the size.
        """
        sizes = self.manifest.graphs.get(precision)
        if sizes is None:
            raise ArtifactError(
                f"{self.folder} has no {precision} graph (it has: {', '.join(self.precisions)}).",
                hint=f"Make it with: {COMMAND} --{precision} --out FOLDER",
            )
        if str(bucket) not in sizes:
            raise ArtifactError(
                f"{self.folder} has no {precision} graph for frames of {bucket} pixels (it has: "
                f"{', '.join(sizes)}).",
                hint=f"Make it with: {COMMAND} --size {bucket} --out FOLDER",
            )
        return sizes[str(bucket)]

    def remade(self) -> str:
        return f"Make it again with: {COMMAND} --out {self.folder}"


def seal_detector(folder: Path, manifest: DetectorManifest) -> DetectorArtifact:
    """Record size and hash of every file in ``folder`` and write the manifest."""
    seal_manifest(folder, manifest)
    return DetectorArtifact(folder, manifest)
