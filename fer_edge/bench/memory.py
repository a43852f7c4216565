"""How much memory a device needs to run a model."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

from fer_edge.child_python import child_environment
from fer_edge.engines import open_engine
from fer_edge.errors import FerEdgeError, InferenceError


def measure_peak_memory(
    model: Path,
    *,
    precision: str,
    backend: str,
    threads: int | None,
    batch: int,
    device: str = "auto",
) -> float | None:
    """Peak resident host memory, in MiB, of a fresh process that loads a model and runs it.

    The process does nothing else, but all of it counts: the Python interpreter, numpy, the
    backend's libraries, the model, and three calls with ``batch`` faces. Memory on a GPU does not
    count. None where the system keeps no such figure (Windows, gVisor).

    Raises
    ------
    InferenceError
        The process could not load or run the model, or the system stopped it.
    """
    settings = {
        "model": str(model),
        "precision": precision,
        "backend": backend,
        "threads": threads,
        "batch": batch,
        "device": device,
    }
    done = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps(settings)],
        capture_output=True,
        text=True,
        env=child_environment(),
    )
    what = f"Measuring the memory of {model} at {precision}"
    if done.returncode < 0:
        raise InferenceError(
            f"{what} was stopped by signal {-done.returncode}.",
            hint="Free some memory or choose smaller batches.",
        )
    if done.returncode > 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise InferenceError(f"{what} failed: {lines[-1]}")
    peak: float | None = json.loads(done.stdout.splitlines()[-1])
    return peak


def _measure(
    model: str, precision: str, backend: str, threads: int | None, batch: int, device: str
) -> None:
    with open_engine(
        Path(model), precision=precision, backend=backend, threads=threads, device=device
    ) as engine:
        faces = np.zeros((batch, *engine.describe().contract.face_shape), np.uint8)
        for _ in range(3):
            engine.run(faces)
    print(json.dumps(_peak_mib()))


def _peak_mib() -> float | None:
    if platform.system() == "Windows":
        return None
    if platform.system() == "Linux":
        # Not getrusage: on Linux its ru_maxrss starts from the peak of the process that forked.
        status = Path("/proc/self/status").read_text()
        peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        # Some sandboxes, such as gVisor, have the file without this line.
        return int(peaks[0]) / 2**10 if peaks else None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    try:
        _measure(**json.loads(sys.argv[1]))
    except FerEdgeError as error:
        sys.exit(str(error))
