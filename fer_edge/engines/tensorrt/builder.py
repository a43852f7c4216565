"""Serialised engines from ONNX graphs, in one way for TensorRT 10, 11 and TensorRT-RTX."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_edge.contract import INPUT_NAME
from fer_edge.detector_contract import FRAMES
from fer_edge.engines import cuda
from fer_edge.engines.signature import check_detector, check_signature
from fer_edge.engines.tensorrt import rtx
from fer_edge.engines.tensorrt.module import (
    TensorRTBackend,
    cause,
    describe_tensor,
    load_module,
    log_of,
    raised_as,
    start,
)
from fer_edge.errors import EngineBuildError, UsageError
from fer_edge.files import storage_errors, without_cache, write_bytes

Progress = Callable[[str, float], None]
"""Called with the name of a build phase and the finished fraction of the build, 0 to 1, which
never falls."""

_MIB = 1 << 20


def build_engine(
    graph: bytes,
    backend: TensorRTBackend,
    *,
    min_batch: int = 1,
    opt_batch: int,
    max_batch: int,
    workspace_mib: int = 1024,
    tf32: bool = True,
    timing_cache: Path | None = None,
    device: int = 0,
    progress: Progress | None = None,
) -> bytes:
    """Build a serialised engine from an ONNX graph.

    The network is strongly typed: every tensor keeps the type that it has in the graph. TensorRT
    needs the GPU that the engine is for. TensorRT-RTX needs none, and its engine runs on GPUs of
    the compute capabilities in :mod:`.rtx_validity`.

    Parameters
    ----------
    graph : bytes
        Serialised ONNX model with the signature of :mod:`fer_edge.contract` or of
        :mod:`fer_edge.detector_contract`.
    min_batch, opt_batch, max_batch : int
        Batch sizes that the engine takes, and the one it is tuned for. All are the graph's own
        batch size where that is fixed.
    workspace_mib : int
        GPU memory that a layer may use as scratch, in MiB.
    tf32 : bool
        Let float32 layers multiply in TF32, which rounds factors to 10 bits of mantissa; as
        TensorRT does by default.
    timing_cache : Path, optional
        File with the timings of earlier builds, read and written if it can be: without them a
        build takes longer. TensorRT-RTX times nothing.
    device : int
        CUDA's index of the GPU that TensorRT builds on and for. TensorRT-RTX needs none.
    progress : callable, optional
        Called as the build advances; what it raises, Ctrl-C included, stops the build.

    Raises
    ------
    UsageError
        Batch sizes below 1, out of order or others than the graph is fixed to; no workspace.
    BackendUnavailableError
        The module is not installed, or TensorRT has no GPU to build on.
    EngineBuildError
        The graph is damaged, of another signature, or has what TensorRT cannot build; CUDA failed.

    References
    ----------
    https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html
    https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html
    """
    batches = (min_batch, opt_batch, max_batch)
    if not 1 <= min_batch <= opt_batch <= max_batch:
        raise UsageError(
            f"Batch sizes must be 1 <= min <= opt <= max, got {', '.join(map(str, batches))}."
        )
    if workspace_mib < 1:
        raise UsageError(f"The workspace must be at least 1 MiB, got {workspace_mib}.")
    trt = load_module(backend)
    with ExitStack() as stack:
        if backend == "tensorrt":
            cuda.require_cuda(device)
            stack.enter_context(raised_as(EngineBuildError))
            stack.enter_context(cuda.Device(device))
        return _build(trt, graph, backend, batches, workspace_mib, tf32, timing_cache, progress)


def _build(
    trt: Any,
    graph: bytes,
    backend: TensorRTBackend,
    batches: tuple[int, int, int],
    workspace_mib: int,
    tf32: bool,
    timing_cache: Path | None,
    progress: Progress | None,
) -> bytes:
    log = log_of(backend)
    builder = start("Builder", backend)
    # Networks of TensorRT 11 and RTX are always strongly typed, and ignore the flag.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log.logger)
    name, sample = _parse(parser, network, graph, batches)

    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib * _MIB)
    # For the inspector; without it an engine tells no more than the names of its layers.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if not tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    profile.set_shape(name, *((size, *sample) for size in batches))
    config.add_optimization_profile(profile)
    if backend == "tensorrt-rtx":
        rtx.allow_capture(config)
    # The timing calls of TensorRT-RTX do nothing but ask for a GPU.
    cached = timing_cache if backend == "tensorrt" else None
    if cached is not None:
        _load_timings(config, cached)
    monitor = _make_monitor(trt, progress)
    config.progress_monitor = monitor

    with log.collect() as errors, _stopped_by_ctrl_c(monitor):
        plan = builder.build_serialized_network(network, config)
    if monitor.stopped_by is not None:
        raise monitor.stopped_by
    if plan is None:
        raise EngineBuildError(
            f"{backend} {trt.__version__} cannot build this graph: {cause(errors)}.",
            hint="If memory ran out, lower --batch; else try another --backend or precision.",
        )
    if cached is not None:
        _store_timings(config, cached)
    return bytes(plan)


def _parse(
    parser: Any, network: Any, graph: bytes, batches: tuple[int, int, int]
) -> tuple[str, tuple[int, ...]]:
    """Read the graph into the network; returns the name of its input and the shape of a sample."""
    if not parser.parse(graph):
        reported = [parser.get_error(index) for index in range(parser.num_errors)]
        raise EngineBuildError(
            f"TensorRT cannot read this graph: {'; '.join(map(_parser_error, reported))}.",
            hint="Export the model again with: fer-edge export",
        )
    inputs, outputs = (
        [describe_tensor(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]
        for tensors in (
            [network.get_input(index) for index in range(network.num_inputs)],
            [network.get_output(index) for index in range(network.num_outputs)],
        )
    )
    fixed: int | None
    sample: tuple[int, ...]
    if FRAMES in [tensor.name for tensor in inputs]:
        name, (fixed, *sizes) = FRAMES, check_detector(inputs, outputs, EngineBuildError)
        sample = tuple(size or 0 for size in sizes)
    else:
        signature = check_signature(inputs, outputs, EngineBuildError)
        name, fixed, sample = INPUT_NAME, signature.batch, signature.face
    if fixed is not None and set(batches) != {fixed}:
        raise UsageError(
            f"This graph takes batches of {fixed} only, not {', '.join(map(str, batches))}.",
            hint=f"Build with --batch {fixed}, or export with a dynamic batch.",
        )
    return name, sample


def _parser_error(error: Any) -> str:
    lines = error.desc().splitlines() or [error.code().name]
    text = cause([line for line in lines if "Error Code" in line] or lines)
    if error.node() < 0:
        return text
    name = f" {error.node_name()!r}" if error.node_name() else ""
    return f"node {error.node()}, {error.node_operator()}{name}: {error.code().name}: {text}"


def _load_timings(config: Any, path: Path) -> None:
    data = b""
    with without_cache(), storage_errors(path):
        if path.exists():
            data = path.read_bytes()
    timings = config.create_timing_cache(data)
    # Timings of another GPU or version are refused, and of no use, as are damaged ones: start over.
    if timings is None or not config.set_timing_cache(timings, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _store_timings(config: Any, path: Path) -> None:
    timings = config.get_timing_cache()
    if timings is not None:
        # They are not worth the engine that has just been built.
        with without_cache():
            write_bytes(path, bytes(timings.serialize()))


@contextmanager
def _stopped_by_ctrl_c(monitor: Any) -> Iterator[None]:
    # Python would raise KeyboardInterrupt in whichever callback comes next, most likely the
    # logger's, and TensorRT prints and drops what a callback raises.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, lambda *_: monitor.stop(KeyboardInterrupt()))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _make_monitor(trt: Any, progress: Progress | None) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped_by: BaseException | None = None
            self._phases: dict[str, _Phase] = {}
            self._fraction = 0.0
            self._lock = threading.Lock()

        def stop(self, reason: BaseException) -> None:
            self.stopped_by = reason

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._lock:
                self._phases[phase_name] = _Phase(parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            """Return whether to go on."""
            with self._lock:
                if phase_name in self._phases:
                    self._phases[phase_name].done = step + 1
                # A phase that comes late may show that less is done than it seemed.
                self._fraction = max(self._fraction, _finished(self._phases, None))
            if progress is not None and self.stopped_by is None:
                try:
                    progress(phase_name, self._fraction)
                except BaseException as error:
                    self.stop(error)
            return self.stopped_by is None

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._phases.pop(phase_name, None)

    return Monitor()


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


def _finished(phases: dict[str, _Phase], parent: str | None) -> float:
    """Fraction of the phases under ``parent`` that is done, their own sub-phases included."""
    return sum(
        min(1.0, (phase.done + _finished(phases, name)) / max(phase.steps, 1))
        for name, phase in phases.items()
        if phase.parent == parent
    )
