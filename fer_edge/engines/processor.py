"""Which processor this machine has."""

import contextlib
import functools
import platform
from pathlib import Path


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
