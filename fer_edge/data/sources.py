"""What a path holds: a lone csv, a folder, a zip or a tar, seen as named files."""

import bz2
import contextlib
import gzip
import hashlib
import lzma
import os
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, NoReturn

from fer_edge.errors import DataError
from fer_edge.files import CHUNK, sha256

CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
_ZIP_MAGIC = b"PK"
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_ACCEPTED = "Give fer2013.csv, icml_face_data.csv, or a folder, zip or tar with one or images."


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
        with _reading(path):
            super().__init__(path, _files_below(path))

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


def _files_below(path: Path) -> list[str]:
    """Names of all files, also of those in folders that are linked.

    Every folder is read once, under its own name where it has one below ``path``: links may lead to
    a folder that they lie in.
    """
    names: list[str] = []
    seen: set[tuple[int, int]] = set()
    starts = [path]
    while starts:
        links: list[Path] = []
        for start in starts:
            for parent, folders, files in os.walk(start, onerror=_raise):
                status = Path(parent).stat()
                if (status.st_dev, status.st_ino) in seen:
                    folders.clear()
                    continue
                seen.add((status.st_dev, status.st_ino))
                names += [(Path(parent) / file).relative_to(path).as_posix() for file in files]
                links += [
                    Path(parent) / name for name in folders if (Path(parent) / name).is_symlink()
                ]
        starts = sorted(links)
    return names


class LoneFile(_Folder):
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
        # Some programs on Windows write backslashes.
        self._infos = {
            info.filename.replace("\\", "/"): info
            for info in archive.infolist()
            if not info.filename.endswith(("/", "\\"))
        }
        super().__init__(path, list(self._infos))

    @contextlib.contextmanager
    def open(self, member: str) -> Iterator[BinaryIO]:
        try:
            stream = self.archive.open(self._infos[member])
        except (KeyboardInterrupt, MemoryError):
            raise
        except Exception as error:  # whatever zipfile meets in a damaged header
            self._refuse(member, error)
        with stream:
            try:
                yield stream  # type: ignore[misc]  # IO[bytes] is a BinaryIO for every use here
            except (
                *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError),
                *(NotImplementedError, struct.error),
            ) as error:
                self._refuse(member, error)

    def _refuse(self, member: str, error: Exception) -> NoReturn:
        raise DataError(
            f"{self.where(member)} cannot be unpacked: {_reason(error)}.",
            hint="Get the zip again.",
        ) from error

    def size(self, member: str) -> int:
        return self._infos[member].file_size

    def fingerprint(self) -> str:
        with _reading(self.path):
            return sha256(self.path)


class _Unpacked(_Folder):
    """An archive that can only be read from start to end, unpacked beside the cache."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._archive = path
        super().__init__(folder)

    def where(self, member: str) -> str:
        return f"{self._archive / member}"

    def fingerprint(self) -> str:
        with _reading(self._archive):
            return sha256(self._archive)


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open what ``path`` holds.

    Raises
    ------
    DataError
        Nothing there, an empty, damaged or unreadable file, or one that is no csv, zip, tar or
        folder.
    """
    if path.is_dir():
        folder = _Folder(path)
        if folder.csv is None:
            yield folder
            return
        # Read as the file that it is, which may be an archive under the name of what is in it.
        path = path / folder.csv
    if not path.exists():
        raise DataError(f"There is no {path}.", hint=_ACCEPTED)
    with _reading(path), path.open("rb") as stream:
        head = stream.read(4096)
    if not head:
        raise DataError(f"{path} is empty.", hint="Get the file again.")
    if head.startswith(_ZIP_MAGIC):
        with _open_zip(path) as archive:
            yield _Zip(path, archive)
    elif head.startswith(_PACKED) or head[257:262] == b"ustar":
        with tempfile.TemporaryDirectory(prefix="fer-edge-") as temporary:
            _unpack(path, Path(temporary))
            yield _Unpacked(path, Path(temporary))
    elif b"\0" in head and not head.startswith(_UTF16):
        raise DataError(f"{path} is neither csv nor zip nor folder nor tar.", hint=_ACCEPTED)
    else:
        yield LoneFile(path)


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # whatever zipfile meets in a damaged directory
        raise DataError(
            f"{path} is a damaged or incomplete zip: {_reason(error)}.", hint="Get it again."
        ) from error


def _unpack(path: Path, folder: Path) -> None:
    """Unpack a tar, packed or not, or one packed file; links and devices in it are left out."""
    try:
        try:
            archive = tarfile.open(path)  # noqa: SIM115, closed below
        except tarfile.ReadError:
            _unpack_file(path, folder)
            return
        with archive:
            for info in archive:
                if info.isfile() and (name := _inside(info.name)) is not None:
                    stream = archive.extractfile(info)
                    assert stream is not None  # of a file
                    _write(stream, folder / name)
    except (
        *(tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, struct.error),
    ) as error:
        raise DataError(
            f"{path} is a damaged or incomplete archive: {_reason(error)}.", hint="Get it again."
        ) from error
    except OSError as error:
        # Of the archive's bytes, or of the disk that it is unpacked to.
        raise DataError(
            f"{path} cannot be unpacked to {folder}: {error.strerror or error}.",
            hint="Get it again, or free some space.",
        ) from error


def _unpack_file(path: Path, folder: Path) -> None:
    opener: Any = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open}
    with path.open("rb") as file:
        head = file.read(2)
    name = path.stem if path.suffix.lower() in (".gz", ".bz2", ".xz") else path.name
    with opener.get(head, lzma.open)(path, "rb") as stream:
        _write(
            stream, folder / (name if name.lower().endswith((".csv", ".tsv")) else f"{name}.csv")
        )


def _write(stream: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        shutil.copyfileobj(stream, file, CHUNK)


def _inside(name: str) -> PurePosixPath | None:
    """The name of a member, if it stays below the folder that it is unpacked to."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.parts if part not in (".", "/")]
    if not parts or ".." in parts or "\0" in name:
        return None
    return PurePosixPath(*parts)


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
    """Tell whether macOS, Jupyter or the like added the file on its own."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


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
