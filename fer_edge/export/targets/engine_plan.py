"""Which engines an export builds."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from fer_edge.contract import Precision
from fer_edge.engines import cuda
from fer_edge.engines.serialised import FP8_CAPABILITY
from fer_edge.engines.tensorrt import TensorRTBackend
from fer_edge.engines.tensorrt.rtx_validity import listed
from fer_edge.errors import BackendUnavailableError, UsageError

Note = Callable[[str], object]
"""Called with a sentence on what is left out."""

Planned = tuple[TensorRTBackend, Precision]


@dataclass(frozen=True)
class BatchRange:
    """Batch sizes that engines are built for; tuned for ``opt``."""

    min: int = 1
    opt: int = 8
    max: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise UsageError(
                f"Batch range {self.min},{self.opt},{self.max} is not 1 <= min <= opt <= max.",
                hint="For example: --batch 1,8,64",
            )


def plan_engines(
    backends: Sequence[TensorRTBackend],
    precisions: Collection[Precision],
    *,
    fp32_engine: bool = False,
    ordinal: int = 0,
    note: Note | None = None,
) -> list[Planned]:
    """The engines to build for graphs of ``precisions``, in the order of ``backends``.

    Parameters
    ----------
    fp32_engine : bool
        Of FP32, too; without it that has an engine only where there is no other graph.
    ordinal : int
        CUDA's index of the GPU to build for.
    note : callable, optional
        What the GPU cannot have is left out and told to it; without it that is an error.

    Raises
    ------
    BackendUnavailableError
        FP8 on a GPU that has none.
    """
    wanted = [p for p in precisions if p != "fp32" or fp32_engine or len(precisions) == 1]
    planned: list[Planned] = []
    for backend in backends:
        for precision in wanted:
            refusal = _refusal(backend, precision, ordinal)
            if refusal is None:
                planned.append((backend, precision))
            elif note is None:
                raise refusal
            else:
                note(f"No {precision} engine for {backend}: {refusal.message}")
    return planned


def _refusal(
    backend: TensorRTBackend, precision: Precision, ordinal: int
) -> BackendUnavailableError | None:
    # TensorRT-RTX builds for no GPU in particular.
    if precision != "fp8" or backend != "tensorrt":
        return None
    name, capability = cuda.device_name(ordinal), cuda.compute_capability(ordinal)
    if capability >= FP8_CAPABILITY:
        return None
    return BackendUnavailableError(
        f"{name} has compute capability {listed([capability])}, and FP8 needs "
        f"{listed([FP8_CAPABILITY])}.",
        hint="Leave out --fp8, or --engine tensorrt.",
    )
