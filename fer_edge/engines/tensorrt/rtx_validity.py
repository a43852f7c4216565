"""Whether an engine of TensorRT-RTX runs here, and why not: what the runtime itself says."""

from collections.abc import Iterable
from typing import Final

from fer_edge.engines import cuda
from fer_edge.engines.old_driver import is_old_driver
from fer_edge.engines.tensorrt.module import (
    load_module,
    log_of,
    module_version,
    start,
    start_error,
)
from fer_edge.errors import EngineLoadError

RTX_CAPABILITIES: Final = ((7, 5), (8, 6), (8, 9), (12, 0), (12, 1))
"""Compute capabilities of the GPUs that NVIDIA lists for TensorRT-RTX 1.5.

A100 (8.0), Orin (8.7), H100 (9.0), B200 (10.0) and Thor (11.0) are not among them, nor 12.1 before
1.5. The enumeration ComputeCapability of the bindings 1.4 to 1.7 has 8.0 as well.
https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/getting-started/support-matrix-1/1.5.html
"""
RTX_PORTABLE: Final = ((8, 6), (8, 9), (12, 0), (12, 1))
"""Those of them that an engine built for no GPU in particular runs on; Turing needs its own.

The page above names 12.1 among the GPUs and not in this sentence; the runtime has the last word.
"""

_CAUSES = {
    "VERSION_MISMATCH": (
        "it was built by another version",
        "Build it again on this machine with: fer-edge export --engine tensorrt-rtx",
    ),
    "UNSUPPORTED_CC": (
        "TensorRT-RTX does not support this GPU, or the engine was built without it",
        "Take the backend onnxruntime-cuda or onnxruntime-cpu, or TensorRT: "
        "pip install 'fer-edge[tensorrt]'",
    ),
    "OLD_CUDA_DRIVER": (
        "it was built beside a newer NVIDIA driver than this machine has",
        "Install a newer driver, or build it again on this machine with: "
        "fer-edge export --engine tensorrt-rtx",
    ),
    "OLD_CUDA_RUNTIME": (
        "it was built beside a newer CUDA runtime than this machine has",
        "Build it again on this machine with: fer-edge export --engine tensorrt-rtx",
    ),
    "INSUFFICIENT_GPU_MEMORY": (
        "the GPU has too little memory",
        "Free some, or build with a smaller --batch.",
    ),
    "MALFORMED_ENGINE": ("it is damaged", "Build it again with: fer-edge export"),
    "CUDA_ERROR": ("CUDA is not installed properly", "Check the driver with nvidia-smi."),
}
"""What each flag of EngineInvalidityDiagnostics means, and what helps.

https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/engine-compatibility.html
"""


def tells_validity() -> bool:
    """Whether the installed TensorRT-RTX can be asked; since 1.1."""
    return hasattr(load_module("tensorrt-rtx").Runtime, "get_engine_validity")


def check_validity(plan: bytes) -> None:
    """Ask TensorRT-RTX whether it runs an engine here, by its header.

    Raises
    ------
    BackendUnavailableError
        There is no GPU, or the driver is too old.
    EngineLoadError
        The engine is not for this machine; the message says what does not fit.
    """
    if not tells_validity():
        return
    cuda.require_cuda()
    trt = load_module("tensorrt-rtx")
    with log_of("tensorrt-rtx").collect() as errors:
        validity, found = start("Runtime", "tensorrt-rtx").get_engine_validity(plan)
    if validity != trt.EngineValidity.INVALID:
        return
    # No flag is set for it (measured with 1.7).
    if is_old_driver(" ".join(errors)):
        raise start_error("tensorrt-rtx", errors)
    flags = trt.EngineInvalidityDiagnostics
    causes = [
        _CAUSES[name]
        for name, flag in flags.__members__.items()
        if int(flag) & int(found) and name in _CAUSES
    ]
    problem = ", and ".join(problem for problem, _ in causes) or "it gave no reason"
    raise EngineLoadError(
        f"tensorrt-rtx {module_version('tensorrt-rtx')} refused this engine: {problem}.",
        hint=causes[0][1] if causes else _CAUSES["VERSION_MISMATCH"][1],
    )


def listed(capabilities: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{major}.{minor}" for major, minor in capabilities)
