"""What may go wrong on a GPU only."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.artifact import Artifact
from fer_edge.bench.latency import random_faces
from fer_edge.engines import cuda
from fer_edge.engines.cuda.driver import driver
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.engines.tensorrt import TENSORRT_BACKENDS, TensorRTEngine
from fer_edge.errors import EngineError, FerEdgeError
from gpu_steps.step import CARRIED, Skipped, carried_plan, need_gpu

CAPTURES = 200
TOLERANCE = 0.01
"""Of a probability, FP16 against float32; the project's own tests take the same."""
ILLEGAL = b"""
.version 6.4
.target sm_75
.address_size 64
.visible .entry illegal() {
    .reg .b64 %address;
    .reg .b32 %value;
    mov.u64 %address, 8;
    mov.u32 %value, 1;
    st.global.u32 [%address], %value;
    ret;
}
\0"""
"""A kernel that writes to an address that nobody has."""


def capture(_work: Path, _seconds: float) -> dict[str, int]:
    """Graphs that hold while another thread allocates and frees."""
    need_gpu()
    device = cuda.Device()
    stop = threading.Event()
    allocations = failures = 0

    def allocate() -> None:
        nonlocal allocations
        while not stop.is_set():
            with device:
                cuda.DeviceBuffer(device, 1 << 20).free()
            allocations += 1

    other = threading.Thread(target=allocate)
    other.start()
    try:
        with device:
            stream = cuda.Stream(device)
            host = cuda.PinnedBuffer(device, (1024,), np.uint8)
            buffer = cuda.DeviceBuffer(device, 1024)
            for _ in range(CAPTURES):
                try:
                    graph = cuda.Graph(device, stream, lambda: stream.upload(host.array, buffer))
                except EngineError:
                    failures += 1
                    continue
                graph.launch(stream)
                stream.synchronize()
                graph.free()
    finally:
        stop.set()
        other.join()
    return {"captures": CAPTURES, "failures": failures, "allocations_meanwhile": allocations}


def illegal_access(work: Path, _seconds: float) -> dict[str, Any]:
    """What run, close and a second engine say after it; that this process exits is the rest."""
    need_gpu()
    if driver().package == "pycuda":
        raise Skipped("It launches its kernel through cuda-bindings.")
    faces = random_faces(4)
    with contextlib.ExitStack() as stack:
        engine, backend = some_engine(work)
        engine.run(faces)
        said = {"backend": backend, "access": message(lose_gpu)}
        said["run"] = message(lambda: engine.run(faces))
        said["run again"] = message(lambda: engine.run(faces))
        said["close"] = message(engine.close)
        said["another device"] = message(lambda: stack.enter_context(cuda.Device()))
    return said


def lose_gpu() -> None:
    device, call = cuda.Device(), driver().call
    with device:
        stream = cuda.Stream(device)
        kernel = call("cuModuleGetFunction", call("cuModuleLoadData", ILLEGAL), b"illegal")
        call("cuLaunchKernel", kernel, 1, 1, 1, 1, 1, 1, 0, stream.handle, 0, 0)
        stream.synchronize()


def message(attempt: Callable[[], Any]) -> str:
    """The error's words; a traceback of anything else ends the step."""
    try:
        attempt()
    except FerEdgeError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def some_engine(work: Path) -> tuple[TensorRTEngine, str]:
    """An engine of the carried model in the first flavour that this GPU runs."""
    reasons = []
    for backend in TENSORRT_BACKENDS:
        try:
            plan = carried_plan(work, backend, "fp16")
            return TensorRTEngine(plan, backend, precision="fp16"), backend
        except (FerEdgeError, Skipped) as error:  # noqa: PERF203
            reasons.append(f"{backend}: {error}")
    raise Skipped(" ".join(reasons))


def arrays(work: Path, seconds: float) -> dict[str, Any]:
    """Largest difference from ONNX Runtime on the CPU, for each library and kind of array."""
    need_gpu()
    engine, backend = some_engine(work)
    faces = random_faces(12)
    with OnnxRuntimeEngine(Artifact.load(CARRIED).read("fp32.onnx")) as reference:
        expected = reference.run(faces)
    found: dict[str, Any] = {"backend": backend, "tolerance": TOLERANCE}
    with engine:
        for library, make in LIBRARIES.items():
            try:
                kinds = make(faces)
                worst: dict[str, Any] = {}
                for name, array, rows in kinds:
                    difference = float(np.abs(engine.run(array) - expected[rows]).max())
                    worst[name] = {"difference": difference, "right": difference < TOLERANCE}
                found[library] = worst
            except ImportError as error:  # noqa: PERF203
                found[library] = f"skipped: {error}"
        found["two threads"] = two_threads(engine, faces, expected, seconds)
    return found


Kind = tuple[str, Any, slice]


def of_torch(faces: np.ndarray) -> Iterator[Kind]:
    import torch

    if not torch.cuda.is_available():
        raise ImportError("this torch has no CUDA")
    host = torch.from_numpy(faces).pin_memory()
    yield "default stream", host.cuda(non_blocking=True), slice(None)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        # Long enough that who does not wait reads too early.
        torch.cuda._sleep(50_000_000)
        late = host.cuda(non_blocking=True)
        yield "side stream", late, slice(None)
    yield "slice", late[3:9], slice(3, 9)
    # One byte off: no allocator's alignment.
    whole = torch.empty(faces.size + 1, dtype=torch.uint8, device="cuda")
    whole[1:] = late.flatten()
    yield "unaligned view", whole[1:].view(late.shape), slice(None)


def of_cupy(faces: np.ndarray) -> Iterator[Kind]:
    import cupy

    yield "default stream", cupy.asarray(faces), slice(None)
    with cupy.cuda.Stream(non_blocking=True):
        late = cupy.asarray(faces)
        yield "side stream", late, slice(None)
    yield "slice", late[3:9], slice(3, 9)
    whole = cupy.empty(faces.size + 1, cupy.uint8)
    whole[1:] = late.ravel()
    yield "unaligned view", whole[1:].reshape(late.shape), slice(None)


def of_numba(faces: np.ndarray) -> Iterator[Kind]:
    from numba import cuda as numba_cuda

    late = numba_cuda.to_device(faces)
    yield "default stream", late, slice(None)
    stream = numba_cuda.stream()
    yield "side stream", numba_cuda.to_device(faces, stream=stream), slice(None)
    yield "slice", late[3:9], slice(3, 9)


LIBRARIES: dict[str, Callable[[np.ndarray], Iterator[Kind]]] = {
    "torch": of_torch,
    "cupy": of_cupy,
    "numba": of_numba,
}


def two_threads(
    engine: Any, faces: np.ndarray, expected: np.ndarray, seconds: float
) -> dict[str, Any]:
    """Calls of two threads at once, and how often another thread ran while they waited."""
    ticks, worst, calls = [0], [0.0], [0]
    end = time.monotonic() + seconds

    def call() -> None:
        while time.monotonic() < end:
            worst[0] = max(worst[0], float(np.abs(engine.run(faces) - expected).max()))
            calls[0] += 1

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.001)
        ticks[0] += 1
    return {
        "calls": calls[0],
        "ticks_of_a_third": ticks[0],
        "seconds": seconds,
        "difference": worst[0],
        "right": worst[0] < TOLERANCE,
    }
