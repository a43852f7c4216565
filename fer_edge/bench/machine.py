"""What machine a measurement was made on."""

import contextlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import pydantic

from fer_edge.engines.processor import available_cores, describe_processor, instruction_sets
from fer_edge.version import __version__

_PACKAGES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx"),
    *("tensorrt-cu12", "tensorrt-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx-cu13"),
)


class Machine(pydantic.BaseModel):
    """Hardware and versions that latency depends on."""

    cpu: str
    cores: int
    """Cores this process may use."""
    instruction_sets: list[str]
    memory_gib: float | None
    gpus: list[str]
    """Name and driver of each NVIDIA GPU."""
    system: str
    python: str
    packages: dict[str, str]
    governor: str | None = None
    """Of the first core's clock, where Linux tells: ``performance`` keeps it high."""
    mhz: float | None = None
    """Of the first core, when it was asked."""


def describe_machine() -> Machine:
    """Describe this machine. What cannot be found out is left empty."""
    return Machine(
        cpu=describe_processor()[0],
        cores=available_cores(),
        instruction_sets=instruction_sets(),
        memory_gib=_memory_gib(),
        gpus=_lines("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
        system=platform.platform(),
        python=platform.python_version(),
        packages={"fer-edge": __version__, **_packages()},
        governor=_told("cpufreq/scaling_governor"),
        mhz=_mhz(),
    )


def _told(name: str) -> str | None:
    try:
        return Path(f"/sys/devices/system/cpu/cpu0/{name}").read_text().strip()
    except OSError:
        return None


def _mhz() -> float | None:
    kilohertz = _told("cpufreq/scaling_cur_freq")
    if kilohertz is not None and kilohertz.isdigit():
        return int(kilohertz) / 1e3
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("cpu MHz"):
                return float(line.split(":")[1])
    return None


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _packages() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _lines(*command: str) -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
