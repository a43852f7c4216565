"""What machine a measurement was made on."""

import contextlib
import os
import platform
import subprocess
from importlib import metadata

import pydantic

from fer_edge.engines.processor import describe_processor
from fer_edge.version import __version__

_FLAGS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_fp16", "avx512_bf16"),
    *("amx_int8", "amx_bf16", "asimddp", "asimdhp", "i8mm", "bf16", "sve"),
)
"""Instruction sets that decide how fast int8 and float16 run on x86 and ARM."""

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


def describe_machine() -> Machine:
    """Describe this machine. What cannot be found out is left empty."""
    name, flags = describe_processor()
    return Machine(
        cpu=name,
        cores=_cores(),
        instruction_sets=[flag for flag in _FLAGS if flag in flags],
        memory_gib=_memory_gib(),
        gpus=_lines("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
        system=platform.platform(),
        python=platform.python_version(),
        packages={"fer-edge": __version__, **_packages()},
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
