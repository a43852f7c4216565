"""Models at batch 1, 8 and 64: end to end and by parts, beside torch.compile in FP16."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.bench.device import measure_device
from fer_edge.bench.latency import measure_latency, random_faces
from fer_edge.contract import PIXEL_MEAN, PIXEL_SCALE, Precision
from fer_edge.data import FaceDataset
from fer_edge.engines import open_engine
from fer_edge.errors import EngineError
from gpu_steps.step import CARRIED, Skipped, need, need_backend, need_gpu

BATCHES = (1, 8, 64)
PRECISIONS: tuple[Precision, ...] = ("fp16", "int8")


def measuring(model: str, backend: str) -> Callable[[Path, float], Any]:
    """The step that measures ``model`` in ``backend``."""
    if backend == "torch-compile":
        return lambda _work, seconds: torch_compile(model, seconds)
    return lambda work, seconds: measure(work, model, backend, seconds)


def measure(work: Path, model: str, backend: str, seconds: float) -> dict[str, Any]:
    """Latency and its parts, by precision and batch size."""
    need_gpu()
    need("onnx")
    if backend != "onnxruntime-cuda":
        need_backend(backend)  # type: ignore[arg-type]
    from fer_edge.export.pipeline import export_model

    graphs = exported(work, model)
    out = work / f"{model}-{backend}"
    if backend != "onnxruntime-cuda":
        export_model(graphs, out, precisions=PRECISIONS, backends=[backend])  # type: ignore[list-item]
    else:
        out = graphs
    found: dict[str, Any] = {}
    for precision in PRECISIONS:
        try:
            engine = open_engine(out, precision=precision, backend=backend)
        except EngineError as error:
            found[precision] = f"{type(error).__name__}: {error}"
            continue
        with engine:
            found["launch"] = engine.describe().launch
            found[precision] = {
                size: {
                    "end_to_end": measure_latency(engine, size, seconds=seconds).model_dump(),
                    "parts": parts.model_dump()
                    if (parts := measure_device(engine, size, seconds=seconds)) is not None
                    else None,
                }
                for size in BATCHES
            }
    if all(isinstance(found.get(one), str) for one in PRECISIONS):
        raise Skipped(str(found["fp16"]))
    return found


def exported(work: Path, model: str) -> Path:
    """An artifact of the graphs; made once."""
    from fer_edge.export.pipeline import export_model

    out = work / model
    if out.is_dir():
        return out
    if model == "compact":
        export_model(CARRIED, out, precisions=PRECISIONS)
    else:
        # Random weights are as fast as trained ones; their INT8 ranges come from noise.
        noise = random_faces(128)[:, 0]
        data = FaceDataset.from_arrays(noise, np.arange(128) % 7, "val")
        export_model(graph_of(work, model), out, precisions=PRECISIONS, data=data)
    return out


def graph_of(work: Path, model: str) -> Path:
    """A float32 graph of the architecture, with random weights; made once."""
    onnx, torch = need("onnx", "torch")
    from fer_edge.export.importing.torch_export import torch_to_onnx
    from fer_edge.models import build_model

    path = work / f"{model}.onnx"
    if not path.is_file():
        torch.manual_seed(0)
        onnx.save(torch_to_onnx(build_model(model), model), path)
    return path


def torch_compile(model: str, seconds: float) -> dict[str, Any]:
    """The same from uint8 in pinned host memory to float32 probabilities there, in ms."""
    need_gpu()
    (torch,) = need("torch")
    if not torch.cuda.is_available():
        raise Skipped("This torch has no CUDA.")
    from fer_edge.models import build_model

    network = build_model(model).half().cuda().eval().to(memory_format=torch.channels_last)

    def classify(faces: Any) -> Any:
        pixels = (faces.half() - PIXEL_MEAN) / PIXEL_SCALE
        return torch.softmax(network(pixels).float(), 1)

    compiled = torch.compile(classify, mode="reduce-overhead", dynamic=False)
    found: dict[str, Any] = {"torch": torch.__version__, "mode": "reduce-overhead, float16"}
    for size in BATCHES:
        host = torch.from_numpy(random_faces(size)).pin_memory()
        began = time.perf_counter()
        ends, on_gpu = [], []
        with torch.inference_mode():
            for _ in range(20):
                compiled(host.cuda(non_blocking=True)).cpu()
            compiling = time.perf_counter() - began
            end = time.perf_counter() + seconds
            while len(ends) < 20 or time.perf_counter() < end:
                start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                called = time.perf_counter()
                faces = host.cuda(non_blocking=True)
                start.record()
                answer = compiled(faces)
                stop.record()
                answer.cpu()
                ends.append(1e3 * (time.perf_counter() - called))
                on_gpu.append(start.elapsed_time(stop))
        found[str(size)] = {
            "compile_s": compiling,
            "end_to_end_ms": dict(zip(("p50", "p99"), np.percentile(ends, [50, 99]), strict=True)),
            "compute_ms": dict(zip(("p50", "p99"), np.percentile(on_gpu, [50, 99]), strict=True)),
        }
    return found
