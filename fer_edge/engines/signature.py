"""Does a graph keep the input contract? One check for every backend."""

from collections.abc import Sequence
from typing import NamedTuple

from fer_edge.contract import INPUT_NAME, OUTPUT_NAME, SIZES, Contract, contract_of_shapes
from fer_edge.detector_contract import BOXES, FRAMES, LANDMARKS, SCORES, Bucket
from fer_edge.errors import EngineError

IMPORT = "Make an artifact of it with: fer-edge import FILE"
"""What to do with a graph of another form."""


class Tensor(NamedTuple):
    """Name, numpy dtype name and shape of a graph's input or output; None is a dynamic size."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        sizes = ", ".join("N" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype} ({sizes})"


class Signature(NamedTuple):
    """What a graph takes and gives, as far as its shapes tell."""

    face: tuple[int, int, int]
    """Shape of one face: (channels, size, size)."""
    classes: int
    batch: int | None
    """The number of faces that it is fixed to; None where any goes."""

    def contract(
        self,
        error: type[EngineError],
        labels: Sequence[str] | None = None,
    ) -> Contract:
        """The contract with these labels; by default FER2013's, where they are as many.

        Raises
        ------
        error
            Another number of labels, or nothing that tells them.
        """
        try:
            return contract_of_shapes(self.face, self.classes, labels)
        except ValueError as problem:
            raise error(f"This graph is not one to run: {problem}.", hint=IMPORT) from problem


_NEEDED = (
    f"{INPUT_NAME} uint8 (N, 1 or 3, S, S) with S from {SIZES[0]} to {SIZES[1]} to "
    f"{OUTPUT_NAME} float32 (N, K)"
)


def check_signature(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], error: type[EngineError]
) -> Signature:
    """Return what the graph takes and gives.

    Raises
    ------
    error
        The graph has other inputs or outputs than :mod:`fer_edge.contract` says.
    """
    # One input and one output: else two inputs could pass for an input and an output.
    if len(inputs) == len(outputs) == 1 and _takes_faces(inputs[0]) and _gives_shares(outputs[0]):
        batch, channels, size, _ = inputs[0].shape
        return Signature((channels, size, size), outputs[0].shape[1], batch)  # type: ignore[arg-type]
    have = f"{_listed(inputs)} to {_listed(outputs)}"
    raise error(f"This graph takes {have}; FER-Edge runs {_NEEDED}.", hint=IMPORT)


def _takes_faces(found: Tensor) -> bool:
    if found[:2] != (INPUT_NAME, "uint8") or len(found.shape) != 4:
        return False
    _, channels, height, width = found.shape
    return (
        channels in (1, 3)
        and height is not None
        and height == width
        and SIZES[0] <= height <= SIZES[1]
    )


def _gives_shares(found: Tensor) -> bool:
    return (
        found[:2] == (OUTPUT_NAME, "float32")
        and len(found.shape) == 2
        and found.shape[1] is not None
        and found.shape[1] >= 2
    )


def _listed(tensors: Sequence[Tensor]) -> str:
    return ", ".join(map(str, tensors)) or "nothing"


def check_detector(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], error: type[EngineError]
) -> tuple[int | None, ...]:
    """Return the shape of a detector's frames: (N, height, width, 3).

    Raises
    ------
    error
        The graph has other inputs or outputs than :mod:`fer_edge.detector_contract` says.
    """
    shape = inputs[0].shape if len(inputs) == 1 and inputs[0][:2] == (FRAMES, "uint8") else ()
    if len(shape) == 4 and shape[1] and shape[2] and shape[3] == 3:
        anchors = Bucket(shape[2], shape[1]).anchors
        wanted = {BOXES: (anchors, 4), SCORES: (anchors,), LANDMARKS: (anchors, 10)}
        floats = {one.name: one.shape[1:] for one in outputs if one.dtype == "float32"}
        if floats == wanted and len(outputs) == len(wanted):
            return shape
    raise error(
        f"This graph takes {_listed(inputs)} and gives {_listed(outputs)}, which no detector does.",
        hint="Make a detector with: fer-edge detector",
    )
