"""The artifact: a folder of graphs, a calibration table, engines, and the manifest over them."""

import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
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
from fer_edge.file_kinds import file_kind
from fer_edge.files import sha256, storage_errors, write_text
from fer_edge.metrics import SIGNIFICANT, SurePoint
from fer_edge.version import __version__, version_numbers

MANIFEST = "manifest.json"
ENGINES = "engines"
SCHEMA = 1


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or set(name) & set("\\:\0"):
        raise ValueError(f"{name!r} is not a path inside the artifact")
    return name


_Name = Annotated[str, pydantic.AfterValidator(_inside)]
"""Path of a file relative to the artifact, with forward slashes. A manifest may come from anyone,
so a name that leads out of the folder is refused."""


class _Record(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")


class FileRecord(_Record):
    """Size in bytes and SHA-256 of a file of the artifact."""

    bytes: int
    sha256: str


class GraphRecord(_Record):
    """The graph of record at one precision, and its rewrite for CPUs where there is one."""

    file: _Name
    cpu_file: _Name | None = None
    cpu_agreement: float | None = None
    """Share of the scored faces that both forms give the same label, 0..1."""
    kept: dict[str, str] = {}
    """Nodes that compute in a wider type than the graph's precision, and why."""
    cpu_kept: dict[str, str] = {}
    """Nodes that the form for CPUs alone computes in float32, and why."""


class CalibrationRecord(_Record):
    """Where the INT8 scales come from."""

    file: _Name
    method: str
    samples: int
    data: str
    """Fingerprint of the data set."""


class EngineRecord(_Record):
    """A serialised engine and what it was built with and for."""

    file: _Name
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


class SpeedRecord(_Record):
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


class ChangedFace(_Record):
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


class Score(_Record):
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

    def loses_to(self, base: "Score") -> bool:
        """Whether this is worse than ``base`` by more than noise (McNemar's exact test)."""
        return (
            self.accuracy < base.accuracy
            and self.mcnemar_p is not None
            and self.mcnemar_p < SIGNIFICANT
        )


class InputContract(_Record):
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


class Manifest(_Record):
    """Everything about an artifact that a person or a program asks before running it."""

    schema_version: int = SCHEMA
    model: str
    created: str = pydantic.Field(
        default_factory=lambda: datetime.now(timezone.utc).isoformat("T", "seconds")
    )
    labels: tuple[str, ...] = EMOTIONS
    input: InputContract = InputContract()
    parameters: int | None = None
    multiply_adds: int | None = None
    training: dict[str, Any] | None = None
    graphs: dict[Precision, GraphRecord] = {}
    parity: dict[str, float] = {}
    """Largest difference of a probability: ``fp32`` from torch, ``half_weights`` from unrounded
    weights, the other precisions from fp32."""
    calibration: CalibrationRecord | None = None
    engines: list[EngineRecord] = []
    scores: dict[Precision, Score] = {}
    speeds: list[SpeedRecord] = []
    """Of the machine that exported; other machines time for themselves."""
    versions: dict[str, str] = {"fer-edge": __version__}
    files: dict[_Name, FileRecord] = {}

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


class Artifact:
    """An artifact folder whose manifest has been read.

    Files are checked against their hash when they are read; :meth:`verify` checks all of them.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def contract(self) -> Contract:
        """What its graphs and engines take and give."""
        return self.manifest.contract

    @classmethod
    def load(cls, folder: Path) -> "Artifact":
        """Read ``folder/manifest.json``.

        Raises
        ------
        ArtifactError
            No such folder, no manifest, a manifest that is not one, made by a newer version, or
            whose input and labels do not go together.
        """
        path = folder / MANIFEST
        make = "Make one with: fer-edge export RUN --out FOLDER"
        if not folder.exists():
            raise ArtifactError(f"There is no {folder}.", hint=make)
        if not path.is_file():
            found = file_kind(folder)
            why = f"it has no {MANIFEST}" if folder.is_dir() else f"it is {found.what}"
            raise ArtifactError(f"{folder} is not an artifact: {why}.", hint=found.way or make)
        with storage_errors(path):
            text = path.read_bytes()
        newer = None
        try:
            raw = json.loads(text)
            version = raw.get("schema_version") if isinstance(raw, dict) else None
            newer = _newer_maker(raw)
            if version != SCHEMA:
                problem = f"schema version {version}, this fer-edge reads {SCHEMA}"
                if newer is not None:
                    raise ValueError(problem)
                raise ArtifactError(
                    f"{path} has {problem}.",
                    hint="Export the model again with this version, or install a matching one.",
                )
            manifest = Manifest.model_validate(raw)
        except (ValueError, RecursionError) as error:
            if newer is not None:
                raise ArtifactError(
                    f"{folder} was made by fer-edge {newer}, and this is {__version__}, which "
                    f"cannot read it ({_first_problem(error)}).",
                    hint=f"Install fer-edge {newer} here, or export the model with {__version__}.",
                ) from error
            raise ArtifactError(
                f"{path} is damaged: {_first_problem(error)}.", hint="Export the model again."
            ) from error
        try:
            _ = manifest.contract
        except ValueError as error:
            raise ArtifactError(
                f"{path} describes no input and labels that go together: {error}.",
                hint="Export the model again with this version.",
            ) from error
        for name in _named(manifest):
            if name not in manifest.files:
                raise ArtifactError(
                    f"{path} is damaged: it names {name}, and has no hash of it.",
                    hint="Export the model again.",
                )
        return cls(folder, manifest)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file of the artifact after checking its hash.

        Raises
        ------
        ArtifactError
            The file is not in the manifest, is missing, or differs from its recorded hash.
        """
        record = self._record(name)
        path = self.folder / name
        if not path.is_file():
            raise self._broken(name, "is missing")
        with storage_errors(path):
            data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise self._broken(name, "does not match the hash in the manifest")
        return data

    def verify(self) -> None:
        """Check every file of the manifest; raise ArtifactError on the first that differs."""
        for name, record in self.manifest.files.items():
            path = self.folder / name
            if not path.is_file():
                raise self._broken(name, "is missing")
            with storage_errors(path):
                if sha256(path) != record.sha256:
                    raise self._broken(name, "does not match the hash in the manifest")

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
            raise ArtifactError(
                f"{self.folder} has no {precision} graph (it has: {have}).",
                hint="Export the model again."
                if precision == "fp32"
                else f"Make it with: fer-edge export {self.folder} --{precision} --out FOLDER",
            ) from None

    def _record(self, name: str) -> FileRecord:
        try:
            return self.manifest.files[name]
        except KeyError:
            raise self._broken(name, "is not listed in the manifest") from None

    def _broken(self, name: str, what: str) -> ArtifactError:
        return ArtifactError(
            f"{self.folder / name} {what}.",
            hint=f"Export {self.manifest.model} again with: fer-edge export",
        )


def seal(folder: Path, manifest: Manifest) -> Artifact:
    """Record size and hash of every file in ``folder`` and write the manifest."""
    manifest.files = {
        path.relative_to(folder).as_posix(): FileRecord(
            bytes=path.stat().st_size, sha256=sha256(path)
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST and not path.name.startswith(".")
    }
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    return Artifact(folder, manifest)


def _named(manifest: Manifest) -> list[str]:
    """Files that the manifest says something about."""
    names = [name for graph in manifest.graphs.values() for name in (graph.file, graph.cpu_file)]
    names += [engine.file for engine in manifest.engines]
    if manifest.calibration is not None:
        names.append(manifest.calibration.file)
    return [name for name in names if name is not None]


def _newer_maker(raw: Any) -> str | None:
    """The version that a manifest says it was made with, where that is above this one."""
    try:
        maker = raw["versions"]["fer-edge"]
        return maker if version_numbers(maker) > version_numbers(__version__) else None
    except (LookupError, TypeError):
        return None


def _first_problem(error: Exception) -> str:
    if isinstance(error, pydantic.ValidationError):
        problem = error.errors()[0]
        return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
    return str(error)
