"""A folder whose manifest holds the hash of every file in it: what artifacts of all kinds are."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import pydantic

from fer_edge.errors import ArtifactError
from fer_edge.external_data import external_files, with_external_data
from fer_edge.file_kinds import file_kind
from fer_edge.files import sha256, storage_errors, write_text
from fer_edge.version import __version__, version_numbers

MANIFEST = "manifest.json"
SCHEMA = 1


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or set(name) & set("\\:\0"):
        raise ValueError(f"{name!r} is not a path inside the artifact")
    return name


Name = Annotated[str, pydantic.AfterValidator(_inside)]
"""Path of a file relative to the artifact, with forward slashes. A manifest may come from anyone,
so a name that leads out of the folder is refused."""


class Record(pydantic.BaseModel):
    """A part of a manifest, or all of it."""

    model_config = pydantic.ConfigDict(extra="forbid")


class FileRecord(Record):
    """Size in bytes and SHA-256 of a file of the artifact."""

    bytes: int
    sha256: str


class SealedManifest(Record):
    """What manifests of every kind have."""

    schema_version: int = SCHEMA
    model: str
    versions: dict[str, str] = {"fer-edge": __version__}
    files: dict[Name, FileRecord] = {}

    def named(self) -> list[str]:
        """Files that the manifest says something about."""
        raise NotImplementedError

    def problem(self) -> str | None:
        """What in it does not go together, as the end of a sentence; None if all does."""
        return None


@dataclass(frozen=True)
class KindOfArtifact:
    """What messages say about artifacts of one kind."""

    name: str
    """As manifests have it under ``kind``; those of classifiers have none."""
    make: str
    """How to make one."""
    again: str
    """How to make a damaged one again."""
    use: str
    """What it is for, where it was named in the place of another kind."""


CLASSIFIER = KindOfArtifact(
    name="classifier",
    make="Make one with: fer-edge export RUN --out FOLDER",
    again="Export the model again.",
    use="Give it as the model.",
)
DETECTOR = KindOfArtifact(
    name="detector",
    make="Make one with: fer-edge detector --out FOLDER",
    again="Make it again with: fer-edge detector --out FOLDER",
    use="It finds faces, and a classifier says what they express.",
)
_KINDS = {kind.name: kind for kind in (CLASSIFIER, DETECTOR)}

M = TypeVar("M", bound=SealedManifest)
S = TypeVar("S", bound="SealedFolder[Any]")


class SealedFolder(Generic[M]):
    """A folder whose manifest has been read.

    Files are checked against their hash when they are read; :meth:`verify` checks all of them.
    """

    kind: ClassVar[KindOfArtifact]
    manifest_type: ClassVar[Any]

    def __init__(self, folder: Path, manifest: M) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def load(cls: type[S], folder: Path) -> S:
        """Read ``folder/manifest.json``.

        Raises
        ------
        ArtifactError
            No such folder, no manifest, a manifest that is not one, of another kind, made by a
            newer version, or with parts that do not go together.
        """
        path = folder / MANIFEST
        kind = cls.kind
        if not folder.exists():
            raise ArtifactError(f"There is no {folder}.", hint=kind.make)
        if not path.is_file():
            found = file_kind(folder)
            why = f"it has no {MANIFEST}" if folder.is_dir() else f"it is {found.what}"
            raise ArtifactError(f"{folder} is not an artifact: {why}.", hint=found.way or kind.make)
        manifest = cls._parse(path)
        problem = manifest.problem()
        if problem is not None:
            raise ArtifactError(
                f"{path} {problem}.", hint=f"{kind.again.rstrip('.')} with this version."
            )
        for name in manifest.named():
            if name not in manifest.files:
                raise ArtifactError(
                    f"{path} is damaged: it names {name}, and has no hash of it.", hint=kind.again
                )
        return cls(folder, manifest)

    @classmethod
    def _parse(cls, path: Path) -> M:
        with storage_errors(path):
            text = path.read_bytes()
        folder, newer = path.parent, None
        try:
            raw = json.loads(text)
            found = raw if isinstance(raw, dict) else {}
            version = found.get("schema_version")
            newer = _newer_maker(raw)
            cls._check_kind(folder, found.get("kind", CLASSIFIER.name))
            if version != SCHEMA:
                problem = f"schema version {version}, this fer-edge reads {SCHEMA}"
                if newer is not None:
                    raise ValueError(problem)
                raise ArtifactError(
                    f"{path} has {problem}.",
                    hint=f"{cls.kind.again.rstrip('.')} with this version, or install a matching "
                    "one.",
                )
            manifest: M = cls.manifest_type.model_validate(raw)
        except (ValueError, RecursionError) as error:
            if newer is not None:
                raise ArtifactError(
                    f"{folder} was made by fer-edge {newer}, and this is {__version__}, which "
                    f"cannot read it ({_first_problem(error)}).",
                    hint=f"Install fer-edge {newer} here, or export the model with {__version__}.",
                ) from error
            raise ArtifactError(
                f"{path} is damaged: {_first_problem(error)}.", hint=cls.kind.again
            ) from error
        return manifest

    @classmethod
    def _check_kind(cls, folder: Path, kind: object) -> None:
        other = _KINDS.get(kind) if isinstance(kind, str) else None
        if other is not None and other is not cls.kind:
            raise ArtifactError(
                f"{folder} is the artifact of a {other.name}, not of a {cls.kind.name}.",
                hint=other.use,
            )

    def read(self, name: str) -> bytes:
        """Return the bytes of a file of the artifact after checking its hash.

        Raises
        ------
        ArtifactError
            The file is not in the manifest, is missing, or differs from its recorded hash.
        """
        record = self.manifest.files.get(name)
        if record is None:
            raise self._broken(name, "is not listed in the manifest")
        path = self.folder / name
        if not path.is_file():
            raise self._broken(name, "is missing")
        with storage_errors(path):
            data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise self._broken(name, "does not match the hash in the manifest")
        return data

    def read_graph(self, name: str) -> bytes:
        """As :meth:`read`, of an ONNX graph, with the data that it keeps in other files of the
        artifact."""
        try:
            return with_external_data(self.read(name), self.read)
        except ValueError as error:
            raise self._broken(name, f"is damaged: {error}") from error

    def size(self, name: str) -> int:
        """Bytes of a graph or an engine, with those of the files that the graph has weights in.

        Raises
        ------
        ArtifactError
            As :meth:`read_graph`.
        """
        files = self.manifest.files
        if not name.endswith(".onnx"):
            return files[name].bytes
        try:
            others = external_files(self.read(name)) - {name}
        except ValueError as error:
            raise self._broken(name, f"is damaged: {error}") from error
        return files[name].bytes + sum(files[one].bytes for one in others if one in files)

    def verify(self) -> None:
        """Check every file of the manifest; raise ArtifactError on the first that differs."""
        for name, record in self.manifest.files.items():
            path = self.folder / name
            if not path.is_file():
                raise self._broken(name, "is missing")
            with storage_errors(path):
                if sha256(path) != record.sha256:
                    raise self._broken(name, "does not match the hash in the manifest")

    def _broken(self, name: str, what: str) -> ArtifactError:
        return ArtifactError(f"{self.folder / name} {what}.", hint=self.remade())

    def remade(self) -> str:
        """How to make this artifact again, for a message."""
        return self.kind.again


def seal_manifest(folder: Path, manifest: SealedManifest) -> None:
    """Record size and hash of every file in ``folder`` and write the manifest."""
    manifest.files = {
        path.relative_to(folder).as_posix(): FileRecord(
            bytes=path.stat().st_size, sha256=sha256(path)
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST and not path.name.startswith(".")
    }
    write_text(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")


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
