"""What every graph and engine of a detector takes and gives."""

from typing import Final, NamedTuple

FRAMES: Final = "frames"
"""Graph input: uint8, (N, height, width, 3), BGR, as cameras give it."""

BOXES: Final = "boxes"
"""Graph output: float32, (N, anchors, 4): x0, y0, x1, y1 in pixels of the frame."""

SCORES: Final = "scores"
"""Graph output: float32, (N, anchors): how sure the detector is of a face, 0..1."""

LANDMARKS: Final = "landmarks"
"""Graph output: float32, (N, anchors, 10): x, y in pixels of the frame of the eye on the left of
the picture, the other eye, the nose, the corner of the mouth on the left, and the other."""

KIND_KEY: Final = "fer_edge.kind"
"""ONNX metadata key that says what a graph is; classifiers have none."""

DETECTOR: Final = "detector"

STRIDES: Final = (8, 16, 32)
"""Pixels from one cell to the next, in each of the levels that faces are looked for at."""

ANCHOR_SIZES: Final = ((16, 32), (64, 128), (256, 512))
"""Sides in pixels of the two anchors in every cell, by level."""


class Bucket(NamedTuple):
    """Size in pixels of the frames that one graph takes."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of cells, by level."""
        return tuple((-(-self.height // s), -(-self.width // s)) for s in STRIDES)

    @property
    def anchors(self) -> int:
        """Rows of the outputs: level by level, cell by cell, the smaller anchor first."""
        return sum(
            len(sizes) * rows * columns
            for sizes, (rows, columns) in zip(ANCHOR_SIZES, self.grids, strict=True)
        )

    @property
    def turned(self) -> "Bucket":
        """Of frames that stand where those of this bucket lie."""
        return Bucket(self.height, self.width)


BUCKETS: Final = (Bucket(320, 240), Bucket(640, 480), Bucket(960, 544))
LARGEST_SIDE: Final = 4096


def bucket_of(text: str) -> Bucket:
    """Read ``640x480``.

    Raises
    ------
    ValueError
        Not two whole numbers from 32 to 4096.
    """
    try:
        width, height = map(int, text.lower().split("x"))
    except ValueError:
        width = height = 0
    if not all(STRIDES[-1] <= side <= LARGEST_SIDE for side in (width, height)):
        raise ValueError(
            f"{text} is not width and height in pixels from {STRIDES[-1]} to {LARGEST_SIDE}, "
            "as 640x480"
        )
    return Bucket(width, height)
