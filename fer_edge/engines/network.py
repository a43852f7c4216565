"""A graph on one device, whatever it is for: arrays by name go in, arrays by name come out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fer_edge.engines.on_gpu import OnGpu
from fer_edge.engines.picking import Pick
from fer_edge.engines.signature import Tensor
from fer_edge.errors import InferenceError, InputError
from fer_edge.forking import HINT, ForkGuard

Array = NDArray[Any]

PRECISION_KEY = "fer_edge.precision"
"""ONNX metadata key under which export writes the graph's precision."""


@dataclass(frozen=True)
class NetworkInfo:
    """What a network takes and gives, and what runs it."""

    backend: str
    """Name in :data:`fer_edge.engines.BACKENDS`, for example ``"onnxruntime-cpu"``."""
    backend_version: str
    precision: str
    device: str
    """Processor or GPU, as its vendor names it."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Of the graph."""
    inference_precision: str | None = None
    """As :attr:`fer_edge.engines.EngineInfo.inference_precision`."""
    integers: str | None = None
    """As :attr:`fer_edge.engines.EngineInfo.integers`."""
    gpu: int | None = None
    """CUDA's index of the GPU that it runs on; None on a processor."""


_Self = TypeVar("_Self", bound="Network")
Result = TypeVar("Result")


class Network(ABC):
    """What backends have in common. A context manager; any thread may call it.

    Parameters
    ----------
    handle : object
        The backend's own, which :meth:`_compute` gets; let go when this is closed.
    info : NetworkInfo
    keep : object
        What has threads, and is not freed in a forked child.
    """

    fork_hint = HINT
    """What to do instead of running, in a child, what its parent opened."""

    def __init__(self, handle: object, info: NetworkInfo, *keep: object) -> None:
        self._handle: Any = handle
        self._info = info
        self._guard = ForkGuard("This engine", InferenceError, *keep, hint=self.fork_hint)

    def describe(self) -> NetworkInfo:
        """What it takes and gives, and what runs it."""
        return self._info

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one batch.

        Parameters
        ----------
        inputs : mapping of str to array
            For each of ``describe().inputs``, in its dtype and shape.

        Returns
        -------
        dict of str to array
            For each of ``describe().outputs``; the caller's to keep.

        Raises
        ------
        InputError
            An array is missing, is not known, or has another dtype or shape.
        InferenceError
            The backend failed, the network is closed, or it was opened before a fork.
        """
        check_inputs(inputs, self._info)
        return self.compute(inputs)

    def compute(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """As :meth:`run`, of inputs that have been checked.

        What runs on ``describe().gpu`` takes :class:`~fer_edge.engines.on_gpu.OnGpu`, too.
        """
        return self._guarded(lambda handle: self._compute(handle, inputs), inputs)

    def _guarded(self, compute: Callable[[Any], Result], inputs: Mapping[str, Sized]) -> Result:
        """What ``compute`` makes of the handle; its errors as InferenceError."""
        self._guard.check()
        handle = self._handle
        if handle is None:
            raise InferenceError("This engine is closed.", hint="Open it again.")
        try:
            return compute(handle)
        except Exception as error:
            what = ", ".join(f"{len(batch)} {name}" for name, batch in inputs.items())
            raise InferenceError(
                f"{self._info.backend} failed on {what}: {self._reason(error)}.",
                hint="Try a smaller batch.",
            ) from error

    def compute_picked(self, inputs: Mapping[str, OnGpu], pick: Pick) -> list[Any]:
        """Run one batch that is on ``describe().gpu``, and bring down what ``pick`` says of it.

        Returns
        -------
        list
            An answer for each row.

        Raises
        ------
        InferenceError
            As :meth:`run`.
        """
        del inputs, pick
        raise InferenceError(f"{self._info.backend} takes nothing on a GPU.")

    def close(self) -> None:
        """Free it once calls under way have ended. May be called more than once."""
        self._handle = None
        self._guard.let_go()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @abstractmethod
    def _compute(self, handle: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one batch; may raise whatever the backend raises."""

    @staticmethod
    @abstractmethod
    def _reason(error: Exception) -> str:
        """What the backend's error says, in a line, without its full stop."""


def check_inputs(inputs: Mapping[str, Array], info: NetworkInfo) -> None:
    """Raise InputError unless ``inputs`` are what the network takes."""
    known = {tensor.name: tensor for tensor in info.inputs}
    if inputs.keys() != known.keys():
        have, wanted = (", ".join(names) or "nothing" for names in (inputs, known))
        raise InputError(f"This network takes {wanted}, got {have}.")
    for name, tensor in known.items():
        array = inputs[name]
        if not isinstance(array, np.ndarray):
            raise InputError(f"{name} must be a numpy array, got {type(array).__name__}.")
        fits = array.ndim == len(tensor.shape) and all(
            wanted in (None, size) for wanted, size in zip(tensor.shape, array.shape, strict=True)
        )
        if array.dtype != tensor.dtype or not fits:
            raise InputError(f"The network takes {tensor}, got {array.dtype} {array.shape}.")
