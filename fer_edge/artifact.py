"""The artifact: a folder of graphs, a calibration table, engines, and the manifest over them."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from fer_edge.contract import (
    COLOR_NAMES,
    EMOTIONS,
    FER2013,
    INPUT_NAME,
    OUTPUT_NAME,
    Contract,
    Precision,
    contract_of_shapes,
)
from fer_edge.errors import ArtifactError
from fer_edge.metrics import AGREEMENT, SIGNIFICANT, SurePoint
from fer_edge.sealed import (
    CLASSIFIER,
    Name,
    Record,
    SealedFolder,
    SealedManifest,
    seal_manifest,
)

ENGINES = "engines"


def now() -> str:
    """The time of day in UTC, as manifests have it."""
    return datetime.now(timezone.utc).isoformat("T", "seconds")


class GraphRecord(Record):
    """The graph of record at one precision, and its rewrite for CPUs where there is one."""

    file: Name
    cpu_file: Name | None = None
    cpu_agreement: float | None = None
    """Share of the scored faces that both forms give the same label, 0..1."""
    kept: dict[str, str] = {}
    """Nodes that compute in a wider type than the graph's precision, and why."""
    cpu_kept: dict[str, str] = {}
    """Nodes that the form for CPUs alone computes in float32, and why."""


class CalibrationRecord(Record):
    """Where the INT8 scales come from."""

    file: Name
    method: str
    samples: int
    data: str
    """Fingerprint of the data set."""


class EngineRecord(Record):
    """A serialised engine and what it was built with and for."""

    file: Name
    backend: Literal["tensorrt", "tensorrt-rtx"]
    backend_version: str
    precision: Precision
    gpu: str | None
    """GPU that the engine is bound to; None for an engine that any supported GPU runs."""
    capability: str | None = None
    """Its compute capability, such as ``"8.7"``; this and what follows, not in older manifests."""
    multiprocessors: int | None = None
    memory: int | None = None
    """In bytes."""
    min_batch: int
    opt_batch: int
    max_batch: int
    kept: dict[str, str] = {}
    """Nodes in float32 where the engine has float16, and why."""
    not_int8: dict[str, str] = {}
    """Convolutions that the graph has in INT8 and the engine has not, and why."""
    not_inspected: str | None = None
    """Why nothing is known of that, where TensorRT's report on the engine could not be read."""


_Milliseconds = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]


class SpeedRecord(Record):
    """What a call took at each precision, timed in turn on one machine."""

    machine: str
    """As :func:`fer_edge.engines.speed.machine_name` has it."""
    backend: str
    backend_version: str
    threads: int | None = None
    """CPU threads that were asked for; None for the backend's default."""
    ms: dict[Precision, Annotated[dict[int, _Milliseconds], pydantic.Field(min_length=1)]]
    """Median milliseconds of a call by batch size, for each precision."""
    integers: str | None = None
    """How int8 was multiplied, as :class:`fer_edge.engines.EngineInfo` has it."""


class ChangedFace(Record):
    """A face that a precision gives another label than FP32."""

    index: int
    """In its split."""
    label: str
    fp32: str
    """What FP32 says."""
    now: str
    """What the precision says."""
    change: float
    """Largest change of a probability, 0..1."""


class FaultScore(Record):
    """Accuracy on faces with one fault of the picture, at one level of it."""

    fault: str
    level: float
    unit: str
    accuracy: float
    """0..1."""


class Score(Record):
    """What one precision scored on one split, single crop."""

    split: str
    n: int
    accuracy: float
    standard_error: float
    macro_f1: float
    recall: dict[str, float]
    backend: str
    """What ran the graph."""
    data: str
    """Fingerprint of the data set."""
    agreement_with_fp32: float | None = None
    mcnemar_p: float | None = None
    precision: dict[str, float] | None = None
    f1: dict[str, float] | None = None
    ece: float | None = None
    """Expected calibration error, 0..1. Older manifests have neither it nor the two above."""
    support: dict[str, int] | None = None
    """Faces per label; not in older manifests."""
    sure: list[SurePoint] = []
    """Thresholds from which on answers are right as often as wanted; not in older manifests."""
    left_out: dict[str, int] = {}
    """Faces of the split per emotion that the model has no label for; ``n`` does not count them."""
    fitting_labels: tuple[str, ...] | None = None
    """The labels in another order that fits the faces far better; None where theirs fits."""
    changed: int | None = None
    """Faces with another label than fp32's."""
    changed_faces: list[ChangedFace] = []
    """At most 200 of them, the largest change of a probability first."""
    faults: list[FaultScore] = []
    """Accuracy on spoilt faces, where it was asked for."""

    def loss_against(self, base: "Score") -> str | None:
        """What this lost against fp32's ``base``, by more than noise; None if nothing."""
        drop = base.accuracy - self.accuracy
        if drop > 0 and self.mcnemar_p is not None and self.mcnemar_p < SIGNIFICANT:
            return (
                f"loses {100 * drop:.2f} points of {self.split} (McNemar's p {self.mcnemar_p:.2g})"
            )
        kept = self.agreement_with_fp32
        if kept is not None and kept < AGREEMENT:
            return f"changes {100 * (1 - kept):.1f} % of the labels"
        return None


class InputContract(Record):
    """What goes in and what comes out."""

    name: str = INPUT_NAME
    dtype: str = "uint8"
    shape: tuple[str, int, int, int] = ("batch", *FER2013.face_shape)
    color: str = COLOR_NAMES[FER2013.color]
    output: str = OUTPUT_NAME
    output_shape: tuple[str, int] = ("batch", len(FER2013.labels))

    @classmethod
    def of(cls, contract: Contract) -> "InputContract":
        return cls(
            shape=("batch", *contract.face_shape),
            color=COLOR_NAMES[contract.color],
            output_shape=("batch", len(contract.labels)),
        )


class Manifest(SealedManifest):
    """Everything about an artifact that a person or a program asks before running it."""

    created: str = pydantic.Field(default_factory=now)
    labels: tuple[str, ...] = EMOTIONS
    input: InputContract = InputContract()
    parameters: int | None = None
    multiply_adds: int | None = None
    training: dict[str, Any] | None = None
    graphs: dict[Precision, GraphRecord] = {}
    parity: dict[str, float] = {}
    """Largest difference of a probability: ``fp32`` from torch, ``half_weights`` and
    ``int8_weights`` from unrounded weights, the other precisions from fp32."""
    calibration: CalibrationRecord | None = None
    engines: list[EngineRecord] = []
    scores: dict[Precision, Score] = {}
    speeds: list[SpeedRecord] = []
    """Of the machine that exported; other machines time for themselves."""

    @property
    def contract(self) -> Contract:
        """What the graphs take and give.

        Raises
        ------
        ValueError
            Input and labels do not make a contract, or disagree.
        """
        contract = contract_of_shapes(self.input.shape[1:], self.input.output_shape[1], self.labels)
        for field, wanted in InputContract.of(contract):
            found = getattr(self.input, field)
            if found != wanted:
                raise ValueError(f"input.{field} is {found}, not {wanted}")
        return contract

    @property
    def only_int8(self) -> bool:
        """Whether the INT8 graph has the weights of the FP32 graph, which is left out."""
        return "int8_weights" in self.parity and "fp32" not in self.graphs

    def named(self) -> list[str]:
        names = [name for graph in self.graphs.values() for name in (graph.file, graph.cpu_file)]
        names += [engine.file for engine in self.engines]
        if self.calibration is not None:
            names.append(self.calibration.file)
        return [name for name in names if name is not None]

    def problem(self) -> str | None:
        try:
            _ = self.contract
        except ValueError as error:
            return f"describes no input and labels that go together: {error}"
        return None


class Artifact(SealedFolder[Manifest]):
    """The artifact of a classifier; see :class:`fer_edge.sealed.SealedFolder`."""

    kind = CLASSIFIER
    manifest_type = Manifest

    @property
    def contract(self) -> Contract:
        """What its graphs and engines take and give."""
        return self.manifest.contract

    def graph(self, precision: Precision) -> GraphRecord:
        """The graph at ``precision``.

        Raises
        ------
        ArtifactError
            The artifact was exported without it.
        """
        try:
            return self.manifest.graphs[precision]
        except KeyError:
            have = ", ".join(self.manifest.graphs) or "none"
            option = "" if precision == "fp32" else f" --{precision}"
            raise ArtifactError(
                f"{self.folder} has no {precision} graph (it has: {have}).",
                hint="Export the model again."
                if precision == "fp32" and not self.manifest.only_int8
                else f"Make it with: fer-edge export {self.folder}{option} --out FOLDER",
            ) from None

    def remade(self) -> str:
        return f"Export {self.manifest.model} again with: fer-edge export"


def seal(folder: Path, manifest: Manifest) -> Artifact:
    """Record size and hash of every file in ``folder`` and write the manifest."""
    seal_manifest(folder, manifest)
    return Artifact(folder, manifest)
