"""Where parts are kept: a folder, or what pyarrow has a file system for."""

import contextlib
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from fer_edge.errors import StorageError, UsageError
from fer_edge.files import atomic_path, storage_errors
from fer_edge.runtime.row_files import load_pyarrow

_ADDRESSES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "file", "mock")
"""Schemes that pyarrow understands; ``mock`` is in memory, for tests."""


class Store(Protocol):
    """Files by name, such as ``faces/a.parquet``, each whole or not there."""

    def names(self, folder: str) -> list[str]:
        """Names of the files in a folder, without it, in no order; empty where there is none."""

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where it is not there."""

    def write(self, name: str, data: bytes) -> None:
        """Put a file in its place, for good when this returns; it takes that of an older one."""

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Keep other runs out within the block, where that can be done."""


def open_store(out: str) -> Store:
    """Open what an ``--out`` means.

    Raises
    ------
    UsageError
        An address that pyarrow has no file system for.
    StorageError
        It cannot be reached.
    MissingDependencyError
        pyarrow is not installed.
    """
    if "://" not in out:
        return FolderStore(Path(out))
    scheme = out.partition("://")[0]
    if scheme not in _ADDRESSES:
        raise UsageError(
            f"{out}: rows cannot be written to {scheme}://.",
            hint="Give a folder, or an address of s3://, gs://, abfs:// or hdfs://.",
        )
    fs = _arrow_systems()
    try:
        system, path = fs.FileSystem.from_uri(out)
    except Exception as error:
        raise StorageError(
            f"{out} cannot be opened: {str(error).splitlines()[0].rstrip('.')}.",
            hint="Check the address and the credentials.",
        ) from error
    return AddressStore(system, path, out)


def _arrow_systems() -> Any:
    load_pyarrow("An archive")
    return importlib.import_module("pyarrow.fs")


class FolderStore:
    """A folder. A file is written beside its place, brought to the disk, and then renamed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self, folder: str) -> list[str]:
        path = self._folder / folder
        with storage_errors(path):
            try:
                return [one for one in os.listdir(path) if one[0] != "."]  # noqa: PTH208
            except FileNotFoundError:
                return []

    def read(self, name: str) -> bytes | None:
        path = self._folder / name
        with storage_errors(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # The rename itself, so that what was told as done is there after a power cut.
        if hasattr(os, "O_DIRECTORY"):
            with storage_errors(path):
                parent = os.open(path.parent, os.O_DIRECTORY)
                try:
                    os.fsync(parent)
                finally:
                    os.close(parent)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold a lock, which ends with the process; and drop what killed ones left half-written."""
        path = self._folder / ".lock"
        with storage_errors(path):
            self._folder.mkdir(parents=True, exist_ok=True)
            stream = path.open("w")
        with stream:
            _lock(stream.fileno(), self._folder)
            self._drop_leftovers()
            try:
                yield
            finally:
                self._drop_leftovers()

    def _drop_leftovers(self) -> None:
        for path in self._folder.glob("**/.*.tmp.*"):
            with contextlib.suppress(OSError):
                path.unlink()


def _lock(file: int, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"{folder} is being written by another run.", hint="Wait for it, or end it."
        ) from error
    except OSError:  # some network file systems have no locks
        return


class AddressStore:
    """What pyarrow writes to. An object of a store appears when it is closed, whole.

    Of two runs at a time nothing keeps out the second; each part would still be there once, as
    its name tells what is in it.
    """

    def __init__(self, system: Any, path: str, shown: str) -> None:
        self._system = system
        self._path = path.rstrip("/")
        self._shown = shown.partition("?")[0].rstrip("/")

    def names(self, folder: str) -> list[str]:
        selector = _arrow_systems().FileSelector(f"{self._path}/{folder}", allow_not_found=True)
        with self._errors(folder):
            return [one.base_name for one in self._system.get_file_info(selector) if one.is_file]

    def read(self, name: str) -> bytes | None:
        path = f"{self._path}/{name}"
        with self._errors(name):
            if not self._system.get_file_info(path).is_file:
                return None
            with self._system.open_input_file(path) as stream:
                return bytes(stream.read())

    def write(self, name: str, data: bytes) -> None:
        path = f"{self._path}/{name}"
        with self._errors(name):
            if self._system.type_name in ("s3", "gcs", "abfs"):
                with self._system.open_output_stream(path) as stream:
                    stream.write(data)
                return
            # Elsewhere what is being written can be seen.
            self._system.create_dir(path.rpartition("/")[0], recursive=True)
            head, _, last = path.rpartition("/")
            temporary = f"{head}/.{last}.{os.urandom(4).hex()}.tmp.parquet"
            with self._system.open_output_stream(temporary) as stream:
                stream.write(data)
            if self._system.get_file_info(path).is_file:
                self._system.delete_file(path)
            self._system.move(temporary, path)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of Arrow, each store its own
            raise StorageError(
                f"Cannot access {self._shown}/{name}: {str(error).splitlines()[0].rstrip('.')}.",
                hint="Check the address, the credentials and the space there.",
            ) from error
