import ctypes
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from fer_edge.training.memory import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
def step():
    block = bytearray(64 << 20)
    block[::4096] = bytes(len(block) // 4096)
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """Pages that the kernel hands out for a second block of the same size."""
    command = [sys.executable, "-c", FAULTS, mode]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="the C library is not glibc",
)
def test_a_second_step_takes_no_new_pages() -> None:
    # 16,384 pages of 4 KiB, or 32 of 2 MiB.
    assert faults("keep") < faults("give back") / 2
