"""Files that are either whole or not there: write beside, then rename."""

import atexit
import contextlib
import errno
import functools
import hashlib
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import platformdirs

from fer_edge.errors import StorageError, UsageError

CHUNK = 1 << 20
CACHE_VARIABLE = "FER_EDGE_CACHE"

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Folder for what can be made again: ``$FER_EDGE_CACHE``, or the user's cache folder."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("fer-edge"))


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Go on where the block cannot use the cache folder, and say so once for each reason."""
    try:
        yield
    except StorageError as error:
        _tell(
            f"{error.message} Going on without the cache; to have one, set {CACHE_VARIABLE} to a "
            "folder that can be written."
        )


@functools.cache
def _tell(message: str) -> None:
    _log.warning(message)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_apart(out: Path, inputs: Iterable[Path]) -> None:
    """Raise UsageError where ``out`` is one of the files that are read, by whatever name."""
    if out.exists() and any(out.samefile(one) for one in inputs if one.exists()):
        raise UsageError(f"{out} is what is read.", hint="Choose another name for what is made.")


def is_full(error: OSError) -> bool:
    """Whether what was written to has no space left, or none for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError on ``path`` into a StorageError that names it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        name = str(error.filename or path)
        # Nobody asked for the temporary file that an atomic write goes to.
        shown = path if f".{path.name}." in name else name
        raise StorageError(
            f"Cannot access {shown}: {reason}.",
            hint="Free some space or choose another place."
            if is_full(error)
            else "Check the path and its permissions.",
        ) from error


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it to ``path`` when the block succeeds.

    Whatever ends the block otherwise, Ctrl-C included, leaves ``path`` as it was.

    Raises
    ------
    StorageError
        The file cannot be written: no space left, no permission.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path, f"tmp{path.suffix}")
        try:
            temporary.touch(exist_ok=False)
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            _discard(temporary)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Like :func:`atomic_path` for a folder: ``path`` is replaced as a whole, or not touched."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path, "tmp")
        try:
            temporary.mkdir()
            yield temporary
            if path.is_dir():
                old = path.with_name(f".{path.name}.{os.urandom(4).hex()}.old")
                old.mkdir()
                try:
                    path.replace(old / path.name)
                    temporary.replace(path)
                except BaseException:
                    if not path.exists():
                        (old / path.name).replace(path)
                    raise
                finally:
                    shutil.rmtree(old, ignore_errors=True)
            else:
                temporary.replace(path)
        finally:
            _discard(temporary)


_unfinished: set[Path] = set()
"""Temporaries in use. Ctrl-C between two instructions of a context manager gets past its
``finally``, so what is still here when Python exits is removed then."""


def _beside(path: Path, suffix: str) -> Path:
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.{suffix}").absolute()
    _unfinished.add(temporary)
    return temporary


def _discard(temporary: Path) -> None:
    if temporary.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        temporary.unlink(missing_ok=True)
    _unfinished.discard(temporary)


@atexit.register
def _discard_unfinished() -> None:
    for temporary in list(_unfinished):
        with contextlib.suppress(OSError):
            _discard(temporary)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8."""
    write_bytes(path, text.encode())


def shown(path: str) -> str:
    """A path as UTF-8 has it: bytes of a name that are none are written out."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
