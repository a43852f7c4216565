"""Try one backend: build with it and open what it is to open, rather than infer from versions.

Libraries of GPUs talk, take their time, and may take their process along: :mod:`.status` gives each
trial one of its own.
"""

from pathlib import Path

from fer_edge.engines import cuda
from fer_edge.engines.integer_products import integer_products
from fer_edge.engines.openvino import OpenVinoEngine, openvino_version, require_exact_integers
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.engines.ort_package import load_onnxruntime
from fer_edge.engines.status import BackendStatus, to_json
from fer_edge.engines.stdout import stdout_to_stderr
from fer_edge.engines.tensorrt import (
    TENSORRT_BACKENDS,
    TensorRTBackend,
    build_engine,
    module_version,
)
from fer_edge.engines.tensorrt.module import start
from fer_edge.engines.tensorrt.network import deserialize
from fer_edge.engines.tensorrt.rtx_validity import RTX_CAPABILITIES, check_validity, listed
from fer_edge.errors import BackendUnavailableError, EngineLoadError, FerEdgeError

GRAPH = Path(__file__).with_name("trial.onnx")
"""The contract's signature around one convolution, so that cuDNN is tried, too."""


def main(backend: str) -> None:
    """Print what :func:`try_backend` finds, as the last line."""
    with stdout_to_stderr():
        status = try_backend(backend)
    print(to_json(status))


def try_backend(backend: str) -> BackendStatus:
    """Try a backend in this process. Raises nothing of fer-edge's own."""
    version = remark = None
    can_build = False
    try:
        if backend in TENSORRT_BACKENDS:
            version = module_version(backend)
            plan = try_to_build(backend)
            can_build = True
            _run_plan(backend, plan)
        elif backend == "openvino":
            version = openvino_version()
            OpenVinoEngine(GRAPH.read_bytes(), threads=1).close()
            remark = _no_int8()
        else:
            version = load_onnxruntime().__version__
            device = "cuda" if backend == "onnxruntime-cuda" else "cpu"
            OnnxRuntimeEngine(GRAPH.read_bytes(), device=device, threads=1).close()
            if device == "cpu":
                remark = f"INT8 as {integer_products()}"
    except FerEdgeError as error:
        return BackendStatus(backend, version, can_build, False, error.message, error.hint)
    return BackendStatus(backend, version, can_build, True, remark=remark)


def _no_int8() -> str | None:
    try:
        require_exact_integers()
    except BackendUnavailableError as error:
        return f"No INT8: {error.message}"
    return None


def try_to_build(backend: TensorRTBackend) -> bytes | None:
    """Build the trial's engine with TensorRT-RTX; of TensorRT, which times kernels, no more than
    start the builder.

    Raises
    ------
    BackendUnavailableError, EngineBuildError
        It cannot build on this machine.
    """
    if backend == "tensorrt-rtx":
        return build_engine(GRAPH.read_bytes(), backend, opt_batch=1, max_batch=1)
    module_version(backend)
    cuda.require_cuda()
    start("Builder", backend)
    return None


def _run_plan(backend: TensorRTBackend, plan: bytes | None) -> None:
    cuda.require_cuda()
    if plan is None:
        start("Runtime", backend)
        return
    try:
        check_validity(plan)
        with cuda.Device():
            deserialize(plan, backend)
    except EngineLoadError as error:
        name, capability = cuda.device_name(), cuda.compute_capability()
        if capability in RTX_CAPABILITIES:
            raise
        raise EngineLoadError(
            f"{error.message} {name} has compute capability {listed([capability])}; NVIDIA lists "
            f"{listed(RTX_CAPABILITIES)}.",
            hint=error.hint,
        ) from error
