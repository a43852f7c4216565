"""Which processor this machine has."""

import contextlib
import functools
import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_SETS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_fp16", "avx512_bf16"),
    *("amx_int8", "amx_bf16", "asimddp", "asimdhp", "i8mm", "bf16", "sve"),
)
"""Instruction sets that decide how fast int8 and float16 run on x86 and Arm."""


def instruction_sets() -> list[str]:
    """Those of this processor that decide how fast int8 and float16 run."""
    return [name for name in _SETS if name in describe_processor()[1]]


def available_cores() -> int:
    """Cores that this process may use: those of its affinity, and of its time by control groups.

    A container with ``--cpus=2``, or a pod with such a limit, sees all cores of the machine.
    """
    affine = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if affine else os.cpu_count() or 1
    return min([cores, *(max(math.ceil(share), 1) for share in _shares())])


def _shares() -> Iterator[float]:
    """Cores' worth of time that the control groups of this process may have.

    References
    ----------
    https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    https://docs.kernel.org/scheduler/sched-bwc.html of version 1
    """
    groups = [_GROUPS, _GROUPS / "cpu"]  # a container's own, whatever the host names it
    with contextlib.suppress(OSError, ValueError):
        for line in _OWN_GROUPS.read_text().splitlines():
            controllers, name = line.split(":", 2)[1:]
            if not controllers or "cpu" in controllers.split(","):
                own = (_GROUPS / "cpu" if controllers else _GROUPS) / name.lstrip("/")
                groups += [own, *(one for one in own.parents if one.is_relative_to(_GROUPS))]
    for group in groups:
        for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            with contextlib.suppress(OSError, ValueError):
                told = " ".join((group / file).read_text() for file in files)
                quota, period = map(int, told.split())  # "max" is none
                if quota > 0:
                    yield quota / period


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
