"""Does a graph keep the input contract? One check for every backend."""

from collections.abc import Sequence
from typing import NamedTuple

from fer_edge.contract import EMOTIONS, FACE_SIZE, INPUT_NAME, OUTPUT_NAME
from fer_edge.errors import EngineError


class Tensor(NamedTuple):
    """Name, numpy dtype name and shape of a graph's input or output; None is a dynamic size."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sizes = ", ".join("N" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype} ({sizes})"


_NEEDED = (
    Tensor(INPUT_NAME, "uint8", (None, 1, FACE_SIZE, FACE_SIZE)),
    Tensor(OUTPUT_NAME, "float32", (None, len(EMOTIONS))),
)


def check_signature(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], error: type[EngineError]
) -> int | None:
    """Return the batch size that the graph is fixed to, or None where any size goes.

    Raises
    ------
    error
        The graph has other inputs or outputs than :mod:`fer_edge.contract` says.
    """
    found = (*inputs, *outputs)
    # One input and one output: else two inputs could pass for an input and an output.
    if len(inputs) != 1 or len(outputs) != 1 or not all(map(_fits, found, _NEEDED)):
        have = f"{_listed(inputs)} to {_listed(outputs)}"
        raise error(
            f"This graph takes {have}; FER-Edge runs {_NEEDED[0]} to {_NEEDED[1]}.",
            hint="Export it with: fer-edge export",
        )
    return inputs[0].shape[0]


def _fits(found: Tensor, needed: Tensor) -> bool:
    return found[:2] == needed[:2] and found.shape[1:] == needed.shape[1:]


def _listed(tensors: Sequence[Tensor]) -> str:
    return ", ".join(map(str, tensors)) or "nothing"
