"""Images become frames: counted, with the time of their arrival."""

import time

from fer_edge.pixels.checks import check_image
from fer_edge.runtime.capture.base import Frame, Image


class Numbering:
    """Numbers the frames of one source.

    Parameters
    ----------
    name : str
        What frames say they are from.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        """Of frames, and of images that could not be read."""
        self.arrived = time.monotonic()
        """When the last frame came, by the monotonic clock; at first, when counting began."""

    def frame(
        self,
        image: Image,
        position: float | None,
        captured: float | None = None,
        file: str | None = None,
    ) -> Frame:
        """The next frame; InputError where its image is none."""
        check_image(image, f"{self.name}: frame {self.count}")
        self.arrived = time.monotonic()
        captured = self.arrived if captured is None else captured
        frame = Frame(image, captured, self.count, self.name, position, file)
        self.count += 1
        return frame
