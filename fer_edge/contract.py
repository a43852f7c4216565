"""The input and output contract that every model, graph and engine of FER-Edge keeps."""

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

Precision = Literal["fp32", "fp16", "int8", "fp8"]
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
