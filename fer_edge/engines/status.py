"""What each backend can do on this machine."""

import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from fer_edge.child_python import child_environment
from fer_edge.engines.selection import BACKENDS

SECONDS: Final = 60.0
"""Longest trial of a backend: the first start of CUDA on a machine with many GPUs takes seconds."""


@dataclass(frozen=True)
class BackendStatus:
    """What one backend can do on this machine."""

    backend: str
    version: str | None
    """Of the installed package; None where it is not installed."""
    can_build: bool
    """Whether engines can be built from graphs here; always False for ONNX Runtime and
    OpenVINO."""
    can_run: bool
    reason: str | None = None
    """Why not, where it cannot run."""
    hint: str | None = None
    """What to do about it."""
    remark: str | None = None
    """What a user of it should know, though it runs."""

    @property
    def available(self) -> bool:
        return self.can_build or self.can_run


def backend_status() -> list[BackendStatus]:
    """What every backend of :data:`BACKENDS` can do here, in that order. Raises nothing.

    Each is tried, in a process of its own, all at a time: seconds where there is a GPU.
    """
    with ThreadPoolExecutor(len(BACKENDS)) as pool:
        return list(pool.map(_try_apart, BACKENDS))


def _try_apart(backend: str) -> BackendStatus:
    code = "import sys; from fer_edge.engines.trial import main; main(sys.argv[1])"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, backend],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=child_environment(),
        )
    except subprocess.TimeoutExpired:
        return _failed(backend, f"{backend} did not start within {SECONDS:.0f} seconds.")
    except OSError as error:
        return _failed(backend, f"{backend} could not be tried: {error.strerror or error}.")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit {done.returncode}"
        return _failed(backend, f"{backend} ended the process that tried it ({how}): {last}")
    return BackendStatus(**json.loads(done.stdout.splitlines()[-1]))


def _failed(backend: str, reason: str) -> BackendStatus:
    hint = "Install its package again, and check the driver with nvidia-smi."
    return BackendStatus(backend, None, False, False, reason, hint)


def to_json(status: BackendStatus) -> str:
    return json.dumps(dataclasses.asdict(status))
