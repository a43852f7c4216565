"""Which processor this machine has."""

import contextlib
import functools
import os
import platform
from pathlib import Path

_SETS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_fp16", "avx512_bf16"),
    *("amx_int8", "amx_bf16", "asimddp", "asimdhp", "i8mm", "bf16", "sve"),
)
"""Instruction sets that decide how fast int8 and float16 run on x86 and Arm."""


def instruction_sets() -> list[str]:
    """Those of this processor that decide how fast int8 and float16 run."""
    return [name for name in _SETS if name in describe_processor()[1]]


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def describe_processor() -> tuple[str, frozenset[str]]:
    """Name of the processor (of the board on Arm) and its instruction sets, as Linux has them."""
    fields: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name")
    if name is None:
        # Arm kernels name no processor; boards name themselves in the device tree.
        with contextlib.suppress(OSError):
            name = Path("/proc/device-tree/model").read_text().rstrip("\0")
    flags = fields.get("flags") or fields.get("Features") or ""
    return name or platform.processor() or platform.machine(), frozenset(flags.split())
