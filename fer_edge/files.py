"""Files that are either whole or not there: write beside, then rename."""

import atexit
import contextlib
import errno
import functools
import hashlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import platformdirs

from fer_edge.errors import StorageError, UsageError

CHUNK = 1 << 20
CACHE_VARIABLE = "FER_EDGE_CACHE"

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Folder for what can be made again: ``$FER_EDGE_CACHE``, or the user's cache folder.

    Of a user without a home, as under a bare number in a container, one that ends with the process.
    """
    folder = os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("fer-edge")
    try:
        return Path(folder).expanduser()
    except RuntimeError:
        return own_folder()


@functools.cache
def own_folder() -> Path:
    """A folder of this process alone, which ends with it."""
    folder = Path(tempfile.mkdtemp(prefix="fer-edge-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


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
        told = path if _temporary_name(path) in name else name
        raise StorageError(
            f"Cannot access {told}: {reason}.",
            hint="Free some space or choose another place."
            if is_full(error)
            else "Check the path and its permissions.",
        ) from error


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it to ``path`` when the block succeeds.

    Whatever ends the block otherwise, Ctrl-C included, leaves ``path`` as it was. A link stays one,
    to the new file; a file keeps its permissions; what is no file, such as ``/dev/null`` or a named
    pipe, is written to.

    Raises
    ------
    StorageError
        The file cannot be written: no space left, no permission.
    """
    with storage_errors(path):
        special = path.exists() and not (path.is_file() or path.is_dir())
        target = path.resolve() if path.is_symlink() and not special else path
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.gettempdir()) if special else target.parent
        temporary = _beside(folder / path.name, f"tmp{path.suffix}")
        try:
            temporary.touch(exist_ok=False)
            mode = (target if target.is_file() else temporary).stat().st_mode
            yield temporary
            if special:
                with temporary.open("rb") as source, path.open("wb") as stream:
                    shutil.copyfileobj(source, stream)
            else:
                # What wrote it may have made it anew, for its user alone. Not all file systems
                # know permissions.
                with contextlib.suppress(PermissionError):
                    temporary.chmod(stat.S_IMODE(mode))
                temporary.replace(target)
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
    name = f"{_temporary_name(path)}{os.urandom(4).hex()}.{suffix}"
    temporary = path.with_name(name).absolute()
    _unfinished.add(temporary)
    return temporary


def _temporary_name(path: Path) -> str:
    """How it begins: short, as what is added must not make a long name too long."""
    return f".{path.name[:40]}."


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
