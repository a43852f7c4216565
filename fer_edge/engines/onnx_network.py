"""What the runtimes of ONNX graphs have in common."""

from collections.abc import Mapping, Sequence

from fer_edge.contract import Precision
from fer_edge.engines.network import PRECISION_KEY, NetworkInfo
from fer_edge.engines.signature import Tensor
from fer_edge.errors import EngineLoadError, UsageError


def check_threads(threads: int | None) -> None:
    """Raise UsageError unless a runtime can use so many threads; None leaves it to the runtime."""
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads}.")


def unloadable(product: str, package: str, reason: str) -> EngineLoadError:
    """A graph that a runtime does not take.

    Parameters
    ----------
    product : str
        The runtime and its version, as its makers write them.
    package : str
        What to update.
    reason : str
        The runtime's own, without its full stop.
    """
    return EngineLoadError(
        f"{product} cannot load this graph: {reason}.",
        hint=f"Export the model again, or update {package} if it is older than the graph.",
    )


def tensor(name: str, kind: str, kinds: Mapping[str, str], shape: Sequence[int | None]) -> Tensor:
    """An input or output; ``kinds`` are the runtime's names of element types, and numpy's."""
    return Tensor(name, kinds.get(kind, kind), tuple(shape))


def network_info(
    backend: str,
    version: str,
    precision: Precision | None,
    device: str,
    signature: tuple[Sequence[Tensor], Sequence[Tensor]],
    metadata: Mapping[str, str],
    *,
    inference_precision: str | None = None,
    integers: str | None = None,
    gpu: int | None = None,
) -> NetworkInfo:
    """What a graph takes and gives; its precision is what the metadata say if nobody else does."""
    inputs, outputs = signature
    return NetworkInfo(
        backend=backend,
        backend_version=version,
        precision=precision or metadata.get(PRECISION_KEY, "fp32"),
        device=device,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        metadata=metadata,
        inference_precision=inference_precision,
        integers=integers,
        gpu=gpu,
    )
