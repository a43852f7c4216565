"""OpenVINO on the CPU."""

import functools
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from fer_edge.contract import Precision
from fer_edge.engines.classifier import ClassifierEngine
from fer_edge.engines.integer_products import (
    are_exact,
    has_integers,
    probe_graph,
    probe_inputs,
)
from fer_edge.engines.network import Array, Network
from fer_edge.engines.onnx_network import check_threads, network_info, tensor, unloadable
from fer_edge.engines.processor import describe_processor
from fer_edge.engines.signature import Tensor
from fer_edge.errors import BackendUnavailableError, UsageError
from fer_edge.forking import ForkGuard

InferencePrecision = Literal["f32", "bf16", "f16"]

_DTYPES = {"u8": "uint8", "f32": "float32", "f16": "float16", "f64": "float64"}
_TELEMETRY = "openvino_telemetry"
"""What None in sys.modules makes a package that is not installed; openvino does without it."""
_FORK_HINT = "Start children with the method spawn, or take the backend onnxruntime-cpu."

_first = threading.Lock()
_threads: list[ForkGuard] = []
"""Of this process, from the first graph that it compiles: a child cannot compile any."""


class OpenVinoNetwork(Network):
    """An ONNX graph in OpenVINO; calls take turns.

    Parameters
    ----------
    graph : bytes
        Serialised ONNX model.
    precision : str, optional
        By default what the ONNX metadata say under
        :data:`~fer_edge.engines.network.PRECISION_KEY`, else ``"fp32"``.
    inference_precision : {"f32", "bf16", "f16"}
        What the layers in floating point compute in, whatever type the graph stores. Layers that
        the graph quantises run in int8.
    threads : int, optional
        CPU threads for one call. By default the physical cores among those that this process is
        confined to.

    Raises
    ------
    EngineLoadError
        ``graph`` is damaged or unsupported.
    BackendUnavailableError
        OpenVINO is not installed, this processor lacks ``inference_precision``, the graph has
        integers and OpenVINO's sums of them saturate on this processor, or this process was forked
        from one that had OpenVINO compile a graph.
    UsageError
        ``threads`` below 1, or an unknown ``inference_precision``.

    References
    ----------
    https://docs.openvino.ai/2025/openvino-workflow/running-inference/optimize-inference/precision-control.html
    """

    fork_hint = _FORK_HINT

    def __init__(
        self,
        graph: bytes,
        *,
        precision: Precision | None = None,
        # OpenVINO's own default is bf16 where the processor has it: that would not be fp32, and
        # on a processor with AVX-512 but without AMX it took 1.5 times as long as f32.
        inference_precision: InferencePrecision = "f32",
        threads: int | None = None,
    ) -> None:
        check_threads(threads)
        if inference_precision not in get_args(InferencePrecision):
            raise UsageError(
                f"Unknown inference precision {inference_precision!r}.",
                hint=f"Take {', '.join(get_args(InferencePrecision))}.",
            )
        core = shared_core()
        if has_integers(graph):
            require_exact_integers()
        with_version = f"OpenVINO {openvino_version()}"
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": inference_precision,
            # Pinned threads wait for their core when another process has it: with a training
            # beside, a face took 7.8 ms instead of 0.9 on two threads.
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(graph)
        except Exception as error:
            raise unloadable(with_version, "openvino", _reason(error)) from error
        # The batch stays dynamic. Compiled for one size, int8 was 7 % faster at batch 1 and no
        # faster at 8 and 64; a call whose size differs from the last one's took 0.3 ms more, but
        # compiling for every size took 80 to 160 ms each.
        try:
            compiled = _compile(core, model, settings)
            request = compiled.create_infer_request()
        except Exception as error:
            raise unloadable(with_version, "openvino", _reason(error)) from error
        computes: InferencePrecision = compiled.get_property(
            "INFERENCE_PRECISION_HINT"
        ).get_type_name()
        processor = describe_processor()[0]
        # A hint that the processor cannot follow is dropped in silence.
        if computes != inference_precision:
            raise BackendUnavailableError(
                f"{with_version} computes in {computes} on {processor}, not in "
                f"{inference_precision}.",
                hint=f"Ask for the inference precision {computes}.",
            )
        # The latency hint makes one stream, which runs one request at a time: more requests than
        # one would wait for each other all the same.
        self._turn = threading.Lock()
        info = network_info(
            "openvino",
            openvino_version(),
            precision,
            processor,
            ([*map(_tensor, model.inputs)], [*map(_tensor, model.outputs)]),
            _metadata(model),
            inference_precision=computes,
        )
        self._outputs = [output.name for output in info.outputs]
        super().__init__(request, info, core, compiled, request)

    def _compute(self, handle: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with self._turn:
            # Sharing spares a copy: 0.48 instead of 0.54 ms for one face in int8.
            results = handle.infer(inputs, share_inputs=True)
            return {name: results[name] for name in self._outputs}

    @staticmethod
    def _reason(error: Exception) -> str:
        return _reason(error)


class OpenVinoEngine(ClassifierEngine):
    """A classifier's graph in OpenVINO; any thread may call :meth:`run`, and calls take turns.

    Parameters
    ----------
    graph, precision, inference_precision, threads
        As :class:`OpenVinoNetwork` takes them.
    labels : sequence of str, optional
        As :class:`~fer_edge.engines.classifier.ClassifierEngine` takes them.

    Raises
    ------
    EngineLoadError, BackendUnavailableError, UsageError
        As both say.
    """

    def __init__(
        self,
        graph: bytes,
        *,
        precision: Precision | None = None,
        inference_precision: InferencePrecision = "f32",
        threads: int | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        network = OpenVinoNetwork(
            graph, precision=precision, inference_precision=inference_precision, threads=threads
        )
        super().__init__(network, labels)


def load_openvino() -> Any:
    """Import openvino, which takes 0.2 s and so waits for the first engine.

    It does not tell Google Analytics of it, as its package ``openvino_telemetry`` would, from a
    child that it forks for that. A program that has imported openvino before sees to this itself:
    ``opt_in_out --opt_out``.

    Raises
    ------
    BackendUnavailableError
        It is not installed, or does not fit this system.
    """
    unasked = _TELEMETRY not in sys.modules
    if unasked:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise BackendUnavailableError(
            f"openvino cannot be imported: {error}.",
            hint="Run: pip install 'fer-edge[openvino]'",
        ) from error
    finally:
        if unasked:
            sys.modules.pop(_TELEMETRY, None)
    return openvino


def shared_core() -> Any:
    """The one ``openvino.Core`` of this process.

    Each Core installs a stack for signal handlers and, when it is freed, puts back the one that it
    found. Two that are not freed in reverse order leave a stack that is freed, and the next signal
    kills the process (OpenVINO 2026.4).

    Raises
    ------
    BackendUnavailableError
        As :func:`load_openvino`; or this process was forked from one that has compiled a graph.
    """
    load_openvino()
    for guard in _threads:
        guard.check()
    with _first:  # functools.cache lets threads that come together make one each
        return _core()


def _compile(core: Any, model: Any, settings: Mapping[str, Any]) -> Any:
    """Compile for the CPU, which starts the threads that all graphs of the process share.

    In a child, whose parent has kept them, it would wait for them for ever (OpenVINO 2026.4).
    """
    if not _threads:  # before it begins: another thread may fork meanwhile
        _threads.append(ForkGuard("OpenVINO", BackendUnavailableError, core, hint=_FORK_HINT))
    return core.compile_model(model, "CPU", settings)


@functools.cache
def _core() -> Any:
    return load_openvino().Core()


def openvino_version() -> str:
    """Release of the installed OpenVINO, for example ``"2024.4.0"``, without build and branch.

    Raises
    ------
    BackendUnavailableError
        As :func:`load_openvino`.
    """
    version: str = load_openvino().get_version()
    return version.partition("-")[0]


def require_exact_integers() -> None:
    """Raise BackendUnavailableError where OpenVINO's integer sums saturate on this processor."""
    if not _sums_are_exact():
        raise BackendUnavailableError(
            f"OpenVINO {openvino_version()} adds products of integers in 16 bits on this "
            "processor, which changes labels.",
            hint="Take the backend onnxruntime-cpu, whose sums are exact, or the precision fp32.",
        )


@functools.cache
def _sums_are_exact() -> bool:
    core = shared_core()
    outputs = _compile(core, core.read_model(probe_graph()), {})(probe_inputs())
    return are_exact(outputs.values())


def _tensor(node: Any) -> Tensor:
    # A tensor has several names where OpenVINO removed nodes that only pass it on; that which the
    # graph gives it is the name of the node, of outputs with the number of a port.
    names = node.get_names()
    own = node.node.friendly_name.removesuffix("/sink_port_0")
    kind = node.element_type.get_type_name()
    shape = [size.get_length() if size.is_static else None for size in node.partial_shape]
    name = own if own in names else min(names, default="")
    return tensor(name, kind, _DTYPES, shape)


def _metadata(model: Any) -> dict[str, str]:
    where = "framework"  # where OpenVINO keeps ONNX metadata
    if not model.has_rt_info(where):
        return {}
    return {key: str(value) for key, value in model.get_rt_info(where).value.items()}


def _reason(error: Exception) -> str:
    """Last line of OpenVINO's message, which ends with the cause after where it was found."""
    lines = [
        line.strip()
        for line in str(error).splitlines()
        if line.strip() and not line.startswith("To facilitate the conversion")
    ]
    return lines[-1].removeprefix("-- ").rstrip(".") if lines else type(error).__name__
