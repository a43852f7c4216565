"""The input and output contract that every model, graph and engine of FER-Edge keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

EMOTIONS: Final = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The known emotions, labels 0..6 in the order of the FER2013 CSV releases."""

FACE_SIZE: Final = 48
"""Side in pixels of the faces that this package trains on, which are grayscale."""

INPUT_NAME: Final = "faces"
"""Graph input: uint8, (N, channels, size, size)."""

OUTPUT_NAME: Final = "probabilities"
"""Graph output: float32, (N, labels), rows sum to 1."""

LABELS_KEY: Final = "fer_edge.labels"
"""ONNX metadata key under which export writes the labels, separated by commas."""

PIXEL_MEAN: Final = 128
PIXEL_SCALE: Final = 64
"""A network sees (pixel - 128) / 64.

FER2013 has mean 130 and standard deviation 65. Both numbers are rounded to make the normalisation
exact at every precision: pixel - 128 is an int8, so quantising the input with scale 1 loses
nothing, and a division by a power of two folds into the first convolution without rounding.
"""

Color = Literal["gray", "rgb"]
COLOR_NAMES: Final[dict[Color, str]] = {"gray": "grayscale", "rgb": "rgb"}
"""As manifests and metadata have them."""
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
        empty, not distinct, or have a comma or white space at their ends.
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
        for label in self.labels:
            # Lists of labels are written with commas: in metadata, options and messages.
            if "," in label or label != label.strip() or not label.isprintable():
                raise ValueError(f"label {label!r}: take one without comma, line end and margin")

    def __str__(self) -> str:
        return f"{self.input_text} to {', '.join(self.labels)}"

    @property
    def channels(self) -> int:
        return 1 if self.color == "gray" else 3

    @property
    def face_shape(self) -> tuple[int, int, int]:
        """Shape of one face as a graph takes it: (channels, size, size)."""
        return self.channels, self.size, self.size

    @property
    def crop_shape(self) -> tuple[int, ...]:
        """Shape of one face in memory: (size, size) of gray, (3, size, size) of RGB."""
        return self.face_shape[self.channels == 1 :]

    @property
    def input_text(self) -> str:
        """``uint8 grayscale faces (N, 1, 48, 48)``: what goes in, for people."""
        shape = ", ".join(map(str, self.face_shape))
        return f"uint8 {COLOR_NAMES[self.color]} {INPUT_NAME} (N, {shape})"

    @property
    def output_text(self) -> str:
        """``float32 probabilities (N, 7)``: what comes out, for people."""
        return f"float32 {OUTPUT_NAME} (N, {len(self.labels)})"


def contract_of_shapes(
    face: Sequence[int | None], classes: int | None, labels: Sequence[str] | None
) -> Contract:
    """The contract that a graph's shapes and its labels make.

    Parameters
    ----------
    face : sequence of int or None
        Shape of one face, (channels, size, size); None is a dynamic size.
    classes : int or None
        Length of a row of the output.
    labels : sequence of str, optional
        Names of the outputs. By default those of FER2013, where they are as many.

    Raises
    ------
    ValueError
        Not such shapes, or not as many labels as outputs.
    """
    colors: dict[int | None, Color] = {1: "gray", 3: "rgb"}
    size = face[-1] if len(face) == 3 else None
    if size is None or face[0] not in colors or face[1] != size:
        raise ValueError("faces are not (1 or 3 channels, size, size)")
    if labels is None and classes != len(EMOTIONS):
        raise ValueError(f"nothing tells the labels of its {classes or 'unknown'} outputs")
    names = EMOTIONS if labels is None else tuple(labels)
    if len(names) != classes:
        raise ValueError(f"{len(names)} labels ({', '.join(names)}) for {classes} outputs")
    return Contract(size, colors[face[0]], names)


def split_labels(text: str | None) -> tuple[str, ...] | None:
    """Labels as :data:`LABELS_KEY` has them; None where it is not there."""
    return tuple(text.split(",")) if text else None


FER2013: Final = Contract()
"""The contract of the networks that this package trains on FER2013."""

Precision = Literal["fp32", "fp16", "int8", "fp8"]
PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
