"""The Python package onnxruntime: one folder, into which several packages of pip install."""

import contextlib
import re
from importlib import metadata
from typing import Any

from fer_edge.engines.old_driver import on_jetson
from fer_edge.errors import BackendUnavailableError, first_line

_PACKAGES = ("onnxruntime", "onnxruntime-gpu")
_AGAIN = "pip install --force-reinstall --no-deps"


def load_onnxruntime() -> Any:
    """Import onnxruntime, which takes 80 ms and so waits for the first engine.

    Raises
    ------
    BackendUnavailableError
        It is not installed, does not fit this system, or lost its files to an uninstallation.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailableError(
            f"onnxruntime cannot be imported: {error}.", hint="Run: pip install onnxruntime"
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        # onnxruntime and onnxruntime-gpu share their files: whichever goes takes the other's along.
        left = [name for name in reversed(_PACKAGES) if name in installed()] or ["onnxruntime"]
        raise BackendUnavailableError(
            "onnxruntime is a folder without its files: they went when onnxruntime or "
            "onnxruntime-gpu was uninstalled, as both share them.",
            hint=f"Run: {_AGAIN} {left[0]}",
        )
    return onnxruntime


def installed() -> dict[str, str]:
    """Versions of the packages that pip knows of onnxruntime and onnxruntime-gpu."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def without_cuda() -> BackendUnavailableError:
    """The error for an onnxruntime that was built without CUDA."""
    version = load_onnxruntime().__version__
    if on_jetson():
        return BackendUnavailableError(
            f"onnxruntime {version} has no CUDA provider.",
            hint="Take the backend tensorrt, which JetPack brings, or see examples/jetson.md.",
        )
    if set(_PACKAGES) <= set(installed()):
        return BackendUnavailableError(
            f"onnxruntime {version}, for the CPU, was installed over onnxruntime-gpu: both share "
            "one folder.",
            hint=f"Run: {_AGAIN} onnxruntime-gpu",
        )
    return BackendUnavailableError(
        f"onnxruntime {version} has no CUDA provider.",
        hint="Run: pip install 'onnxruntime-gpu[cuda,cudnn]'",
    )


def cuda_of(ort: Any) -> int | None:
    """Major version of the CUDA that an onnxruntime was built with; None where it does not say."""
    match = re.match(r"\d+", getattr(ort, "cuda_version", ""))
    return int(match[0]) if match else None


def reason(error: Exception) -> str:
    """First line of ORT's message, without ``[ONNXRuntimeError] : 7 : INVALID_PROTOBUF :``."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first_line(error))
