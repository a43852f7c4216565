"""What a path holds: a lone csv, a folder or a zip, seen as named files."""

import contextlib
import hashlib
import os
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn

from fer_edge.errors import DataError
from fer_edge.files import sha256

CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
_ZIP_MAGIC = b"PK"
_ACCEPTED = "Give fer2013.csv, icml_face_data.csv, or a folder or zip that holds one or images."


class Source(ABC):
    """Named files under one path.

    Attributes
    ----------
    path : Path
    members : list of str
        Names relative to ``path``, with forward slashes, sorted.
    csv : str or None
        The member that holds FER2013 as csv, if there is one.
    """

    def __init__(self, path: Path, members: list[str]) -> None:
        self.path = path
        self.members = sorted(name for name in members if not _is_litter(name))
        self.csv = find_csv(self.members)

    @abstractmethod
    def open(self, member: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Open a member for reading.

        Raises
        ------
        DataError
            The member is damaged; also while reading from it.
        """

    @abstractmethod
    def size(self, member: str) -> int:
        """Size of a member in bytes, unpacked."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hex SHA-256 that changes when the source does."""

    def where(self, member: str) -> str:
        """Name a member in a message."""
        return f"{self.path / member}"


class _Folder(Source):
    def __init__(self, path: Path) -> None:
        names = []
        with _reading(path):
            for parent, _, files in os.walk(path, onerror=_raise):
                relative = Path(parent).relative_to(path)
                names += [(relative / file).as_posix() for file in files]
        super().__init__(path, names)

    @contextlib.contextmanager
    def open(self, member: str) -> Iterator[BinaryIO]:
        with _reading(self.path / member), (self.path / member).open("rb") as stream:
            yield stream

    def size(self, member: str) -> int:
        return (self.path / member).stat().st_size

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        with _reading(self.path):
            for name in self.members:
                status = (self.path / name).stat()
                digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


class _File(_Folder):
    """A lone csv, of any name."""

    def __init__(self, path: Path) -> None:
        Source.__init__(self, path.parent, [path.name])
        self.file = path
        self.csv = path.name

    def fingerprint(self) -> str:
        with _reading(self.file):
            return sha256(self.file)


class _Zip(Source):
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        super().__init__(path, [info.filename for info in archive.infolist() if not info.is_dir()])

    @contextlib.contextmanager
    def open(self, member: str) -> Iterator[BinaryIO]:
        try:
            stream = self.archive.open(member)
        except (zipfile.BadZipFile, RuntimeError) as error:
            self._refuse(member, error)
        with stream:
            try:
                yield stream  # type: ignore[misc]  # IO[bytes] is a BinaryIO for every use here
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
                self._refuse(member, error)

    def _refuse(self, member: str, error: Exception) -> NoReturn:
        raise DataError(
            f"{self.where(member)} cannot be unpacked: {_reason(error)}.",
            hint="Get the zip again.",
        ) from error

    def size(self, member: str) -> int:
        return self.archive.getinfo(member).file_size

    def fingerprint(self) -> str:
        with _reading(self.path):
            return sha256(self.path)


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open what ``path`` holds.

    Raises
    ------
    DataError
        Nothing there, an empty, damaged or unreadable file, or one that is no csv, zip or folder.
    """
    if path.is_dir():
        folder = _Folder(path)
        yield folder if folder.csv is None else _File(path / folder.csv)
        return
    if not path.exists():
        raise DataError(f"There is no {path}.", hint=_ACCEPTED)
    with _reading(path), path.open("rb") as stream:
        head = stream.read(4096)
    if not head:
        raise DataError(f"{path} is empty.", hint="Get the file again.")
    if head.startswith(_ZIP_MAGIC):
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise DataError(
                f"{path} is a damaged or incomplete zip: {_reason(error)}.",
                hint="Get it again.",
            ) from error
        with archive:
            yield _Zip(path, archive)
    elif b"\0" in head:
        raise DataError(f"{path} is neither csv nor zip nor folder.", hint=_ACCEPTED)
    else:
        yield _File(path)


def find_csv(members: list[str]) -> str | None:
    """Return the shallowest member named like FER2013's csv, or None."""
    found = [name for name in members if _basename(name).lower() in CSV_NAMES]
    return min(
        found,
        key=lambda name: (CSV_NAMES.index(_basename(name).lower()), name.count("/"), name),
        default=None,
    )


def _basename(name: str) -> str:
    return name.rpartition("/")[2]


def _is_litter(name: str) -> bool:
    """Tell whether macOS added the file on its own."""
    return name.startswith("__MACOSX/") or _basename(name).startswith("._")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or path} cannot be read: {error.strerror or error}.",
            hint="Check its permissions, or get it again.",
        ) from error


def _reason(error: Exception) -> str:
    return str(error).rstrip(".") or "it ends too early"


def _raise(error: OSError) -> NoReturn:
    raise error
