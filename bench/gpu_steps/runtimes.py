"""TensorRT-RTX and ONNX Runtime on this GPU: what they say, and their choices measured."""

import shutil
import time
from pathlib import Path
from typing import Any

from fer_edge.artifact import Artifact
from fer_edge.bench.device import measure_device
from fer_edge.bench.latency import measure_latency, random_faces
from fer_edge.engines import backend_status, cuda, open_engine
from fer_edge.engines.tensorrt import TENSORRT_BACKENDS, TensorRTEngine, rtx
from fer_edge.engines.tensorrt.module import load_module, log_of, start
from fer_edge.errors import EngineError
from fer_edge.files import cache_folder
from gpu_steps.step import CARRIED, Skipped, carried_plan, need, need_backend, need_gpu

FACES = range(1, 17)
BATCHES = (1, 8, 64)


def rtx_validity(work: Path, _seconds: float) -> dict[str, Any]:
    """What get_engine_validity says of an engine for any supported GPU, and what opening does."""
    gpu = need_gpu()
    version = need_backend("tensorrt-rtx")
    plan = carried_plan(work, "tensorrt-rtx", "fp16")
    trt = load_module("tensorrt-rtx")
    with cuda.Device(), log_of("tensorrt-rtx").collect() as errors:
        validity, diagnostics = start("Runtime", "tensorrt-rtx").get_engine_validity(plan)
    flags = trt.EngineInvalidityDiagnostics.__members__
    found: dict[str, Any] = {
        "gpu": str(gpu),
        "version": version,
        "validity": str(validity),
        "diagnostics": [name for name, flag in flags.items() if int(flag) & int(diagnostics)],
        "log": errors,
    }
    try:
        with TensorRTEngine(plan, "tensorrt-rtx", precision="fp16") as engine:
            found["launch"] = engine.describe().launch
    except EngineError as error:
        found["refusal"] = f"{type(error).__name__}: {error}"
    return found


def auto(work: Path, _seconds: float) -> dict[str, Any]:
    """The engine that auto takes of an artifact with all engines that can be built here."""
    need_gpu()
    need("onnx")
    from fer_edge.export.pipeline import export_model

    able = [
        status.backend
        for status in backend_status()
        if status.can_build and status.backend in TENSORRT_BACKENDS
    ]
    out = work / "auto"
    export_model(CARRIED, out, precisions=["fp16", "int8"], backends=able)  # type: ignore[arg-type]
    with open_engine(out) as engine:
        engine.run(random_faces(3))
        info = engine.describe()
    engines = {
        record.file: {
            "not_int8": record.not_int8,
            "not_inspected": record.not_inspected,
            "gpu": record.gpu,
        }
        for record in Artifact.load(out).manifest.engines
    }
    return {"built": able, "taken": vars(info), "engines": engines}


def rtx_cold(work: Path, seconds: float) -> dict[str, Any]:
    """Opening compiles the kernels of every bucket."""
    return _opening(work, seconds, fresh=True)


def rtx_warm(work: Path, seconds: float) -> dict[str, Any]:
    """The same in another process, with the kernels that it kept."""
    return _opening(work, seconds, fresh=False)


def rtx_lazy(work: Path, seconds: float) -> dict[str, Any]:
    """Kernels for any shape first, special ones from a thread later; a quick close meanwhile."""
    rtx.SPECIALIZATION = "LAZY"
    found = _opening(work, seconds, fresh=True)
    plan = carried_plan(work, "tensorrt-rtx", "fp16")
    shutil.rmtree(cache_folder() / "kernels", ignore_errors=True)
    began = time.perf_counter()
    TensorRTEngine(plan, "tensorrt-rtx", precision="fp16").close()
    return found | {"open_and_close_while_it_compiles_s": time.perf_counter() - began}


def _opening(work: Path, seconds: float, *, fresh: bool) -> dict[str, Any]:
    need_gpu()
    need_backend("tensorrt-rtx")
    plan = carried_plan(work, "tensorrt-rtx", "fp16")
    if fresh:
        shutil.rmtree(cache_folder() / "kernels", ignore_errors=True)
    began = time.perf_counter()
    with _rtx(plan, "fp16") as engine:
        opened = time.perf_counter() - began
        kernels = [path.stat().st_size for path in (cache_folder() / "kernels").glob("*")]
        early = measure_latency(engine, 8, seconds=seconds / 4)
        # Lazy kernels may have come by then.
        time.sleep(3 * seconds)
        late = measure_latency(engine, 8, seconds=seconds / 4)
        return {
            "open_s": opened,
            "cache_bytes": sum(kernels),
            "specialization": rtx.SPECIALIZATION,
            "launch": engine.describe().launch,
            "early": early.model_dump(),
            "late": late.model_dump(),
        }


def rtx_precisions(work: Path, seconds: float) -> dict[str, Any]:
    """Whether INT8 gains anything in TensorRT-RTX, which auto goes by."""
    need_gpu()
    need_backend("tensorrt-rtx")
    found: dict[str, Any] = {}
    for precision in ("fp16", "int8"):
        with _rtx(carried_plan(work, "tensorrt-rtx", precision), precision) as engine:
            parts = {size: measure_device(engine, size, seconds=seconds) for size in BATCHES}
        found[precision] = {size: one and one.model_dump() for size, one in parts.items()}
    return found


def _rtx(plan: bytes, precision: Any) -> TensorRTEngine:
    try:
        return TensorRTEngine(plan, "tensorrt-rtx", precision=precision)
    except EngineError as error:
        raise Skipped(f"TensorRT-RTX does not run here: {error.message}") from error


def onnxruntime_search(_work: Path, _seconds: float) -> dict[str, Any]:
    """First and second call for each number of faces, in ms, by the search for algorithms."""
    need_gpu()
    (ort,) = need("onnxruntime")
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise Skipped(f"onnxruntime {ort.__version__} has no CUDA provider.")
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    graph = Artifact.load(CARRIED).read("fp32.onnx")
    found: dict[str, Any] = {"version": ort.__version__}
    for search in ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"):
        provider = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": search})
        session = ort.InferenceSession(graph, providers=[provider])
        if "CUDAExecutionProvider" not in session.get_providers():
            raise Skipped("ONNX Runtime could not start its CUDA provider; the log says why.")
        found[search] = {n: [_call_ms(session, n) for _ in range(2)] for n in FACES}
    return found


def _call_ms(session: Any, n: int) -> float:
    faces = random_faces(n)
    began = time.perf_counter()
    session.run(None, {"faces": faces})
    return 1e3 * (time.perf_counter() - began)
