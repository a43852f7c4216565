"""How a device is named: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``."""

import re

from fer_edge.engines.cuda.device import require_cuda
from fer_edge.engines.cuda.driver import DEVICE_HINT, driver
from fer_edge.errors import BackendUnavailableError, UsageError

AUTO = "auto"
CPU = "cpu"


def device_ordinal(name: str) -> int | None:
    """CUDA's index of the GPU that ``name`` means, 0 for ``"cuda"``; None for ``"cpu"``.

    Raises
    ------
    UsageError
        ``name`` is neither.
    """
    if name == CPU:
        return None
    match = re.fullmatch(r"cuda(?::(\d+))?", name, re.ASCII)
    if match is None:
        raise UsageError(f"Unknown device {name!r}.", hint="Take auto, cpu, cuda or cuda:1.")
    return int(match[1] or 0)


def gpu_of(name: str) -> int:
    """CUDA's index of the GPU that work on one goes to: the one named, else the first.

    Raises
    ------
    UsageError
        ``name`` is no device.
    """
    return 0 if name == AUTO else device_ordinal(name) or 0


def check_device(name: str, backend: str) -> None:
    """Raise UsageError unless ``backend`` runs on the device; both may be ``"auto"``."""
    if name == AUTO:
        return
    on_gpu = device_ordinal(name) is not None
    if backend != "auto" and on_gpu != runs_on_gpu(backend):
        raise UsageError(
            f"The backend {backend} does not run on {name}.",
            hint="Leave out the one or the other.",
        )


def runs_on_gpu(backend: str) -> bool:
    return backend not in ("onnxruntime-cpu", "openvino")


def require_gpu(ordinal: int) -> None:
    """Raise BackendUnavailableError unless there is a driver and this GPU."""
    require_cuda()
    count = driver().call("cuDeviceGetCount")
    if ordinal >= count:
        raise BackendUnavailableError(
            f"This machine has no cuda:{ordinal}: its last GPU is cuda:{count - 1}.",
            hint=DEVICE_HINT,
        )
