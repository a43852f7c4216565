"""An NVIDIA driver that is older than the CUDA that a package was built with: error 35."""

import ctypes
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

from fer_edge.errors import BackendUnavailableError

LEAST_DRIVER: Final = {12: 525, 13: 580}
"""Least driver for the packages of a major version of CUDA.

https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
"""

_ERROR_35 = re.compile(
    r"cudaError(?:_t)? ?35\b|with error: ?35\b|CUDA failure 35\b|driver version is insufficient"
)
"""As TensorRT, TensorRT-RTX, ONNX Runtime and CUDA itself put cudaErrorInsufficientDriver."""

_TEGRA = Path("/etc/nv_tegra_release")


def is_old_driver(text: str) -> bool:
    """Whether a library's message is CUDA's error 35.

    CUDA's runtime says so of a machine without any driver, too.
    """
    return _ERROR_35.search(text) is not None


def old_driver(package: str, cuda: int | None, cure: str | None = None) -> BackendUnavailableError:
    """The error to raise for it.

    Parameters
    ----------
    package : str
        What needs the driver, with its version.
    cuda : int, optional
        Major version of the CUDA that it was built with, where that is known.
    cure : str, optional
        Command that installs the same for an older driver.
    """
    speaks = driver_cuda()
    has = "" if speaks is None else f" It knows CUDA {speaks[0]}.{speaks[1]} at most"
    built = "" if cuda is None else f"{package} was built with CUDA {cuda}"
    detail = ", and ".join(filter(None, [has, built])) if has else built and f" {built}"
    message = f"The NVIDIA driver is too old for {package} (CUDA error 35)."
    return BackendUnavailableError(
        f"{message}{detail}{'.' if detail else ''}", hint=_hint(cuda, cure)
    )


def _hint(cuda: int | None, cure: str | None) -> str:
    if on_jetson():
        return "On Jetson the driver comes with JetPack: take JetPack's packages, not pip's."
    if cuda in LEAST_DRIVER:
        drivers = f"driver {LEAST_DRIVER[cuda]} or newer"
    else:
        each = (f"{driver} for CUDA {version}" for version, driver in LEAST_DRIVER.items())
        drivers = f"a newer driver (from {', '.join(each)})"
    other = f", or what is for CUDA 12: {cure}" if cure is not None else "."
    return f"Install {drivers}{other}"


def driver_cuda() -> tuple[int, int] | None:
    """Newest version of CUDA that the installed driver knows; None where there is no driver.

    Needs neither a GPU nor a package.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    version = ctypes.c_int()
    try:
        if ctypes.CDLL(name).cuDriverGetVersion(ctypes.byref(version)):
            return None
    except (OSError, AttributeError):
        return None
    return version.value // 1000, version.value % 1000 // 10


def package_cuda(package: str) -> int | None:
    """Major version of CUDA of a package of NVIDIA's with a flavour for each, such as tensorrt.

    None where it did not come from pip, as on Jetson.
    """
    for cuda in sorted(LEAST_DRIVER, reverse=True):
        try:
            metadata.version(f"{package}-cu{cuda}")
        except metadata.PackageNotFoundError:
            continue
        return cuda
    return None


def on_jetson() -> bool:
    return _TEGRA.exists()
