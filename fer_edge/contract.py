"""The input and output contract that every model, graph and engine of FER-Edge keeps."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

EMOTIONS: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Labels 0..6, in the order of the FER2013 CSV releases."""

FACE_SIZE: Final = 48
"""Side of a face in pixels. Faces are uint8 grayscale, (N, 48, 48) in memory."""

INPUT_NAME: Final = "faces"
"""Graph input: uint8, (N, 1, 48, 48)."""

OUTPUT_NAME: Final = "probabilities"
"""Graph output: float32, (N, 7), rows sum to 1."""

PIXEL_MEAN: Final = 128
PIXEL_SCALE: Final = 64
"""A network sees (pixel - 128) / 64.

FER2013 has mean 130 and standard deviation 65. Both numbers are rounded to make the normalisation
exact at every precision: pixel - 128 is an int8, so quantising the input with scale 1 loses
nothing, and a division by a power of two folds into the first convolution without rounding.
"""

Color = Literal["gray", "rgb"]
SIZES: Final = (24, 260)
"""Smallest and largest side of a face in pixels that a network may take."""


@dataclass(frozen=True)
class Contract:
    """What one network takes and gives. Its artifact carries it, and so does every graph.

    The graph takes raw uint8 faces ``(N, channels, size, size)`` and returns float32
    probabilities ``(N, len(labels))`` whose rows sum to 1.

    Raises
    ------
    ValueError
        A size out of :data:`SIZES`, an unknown colour, fewer than two labels, or labels that are
        empty or not distinct.
    """

    size: int = FACE_SIZE
    color: Color = "gray"
    labels: tuple[str, ...] = EMOTIONS

    def __post_init__(self) -> None:
        if not SIZES[0] <= self.size <= SIZES[1]:
            raise ValueError(f"faces of {self.size} pixels: take {SIZES[0]} to {SIZES[1]}")
        if self.color not in get_args(Color):
            raise ValueError(f"colour {self.color!r}: take {' or '.join(get_args(Color))}")
        if len(self.labels) < 2 or not all(self.labels):
            raise ValueError(f"labels {', '.join(self.labels) or '(none)'}: name two or more")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels {', '.join(self.labels)}: each may stand only once")

    @property
    def channels(self) -> int:
        return 1 if self.color == "gray" else 3

    @property
    def face_shape(self) -> tuple[int, int, int]:
        """Shape of one face: (channels, size, size)."""
        return self.channels, self.size, self.size


FER2013: Final = Contract()
"""The contract of the networks that this package trains on FER2013."""

Precision = Literal["fp32", "fp16", "int8", "fp8"]
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
