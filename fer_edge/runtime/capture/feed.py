"""Live frames that a program has, rather than a camera."""

import time

from fer_edge.errors import InputError
from fer_edge.runtime.capture.base import Image, Reader, Source, State
from fer_edge.runtime.capture.camera import Camera


class Feed(Camera):
    """A live camera whose frames a program puts in: those of a callback, or of another library.

    As of any live source only the newest is kept, and those that nobody read in time are counted.

    Parameters
    ----------
    name : str
        What frames say they are from.

    Examples
    --------
    A topic of ROS 2:

    >>> with Feed("front") as feed:
    ...     node.create_subscription(Image, "image", lambda m: feed.put(bridge.imgmsg_to_cv2(m)), 1)
    ...     for moment in recognizer.watch(feed):
    ...         print(moment.faces)
    """

    def __init__(self, name: str = "feed") -> None:
        super().__init__(Source(name, True, _never))

    def put(self, image: Image, captured: float | None = None) -> None:
        """Hand over a frame, from any thread; once the feed is closed this does nothing.

        Parameters
        ----------
        image : uint8 array, shape (H, W, 3), BGR, or (H, W), gray
            Not to be changed afterwards.
        captured : float, optional
            ``time.monotonic()`` at which it was taken, in seconds; by default now. From a time
            since 1970: ``time.monotonic() - (time.time() - stamp)``.

        Raises
        ------
        InputError
            Another dtype or shape, or a time to come.
        """
        if captured is not None and not captured <= time.monotonic():
            raise InputError(
                f"{self.name}: a frame cannot be captured at {captured} s, which is to come.",
                hint="Times are those of time.monotonic().",
            )
        self._take(image, None, captured)

    def _start(self) -> None:
        self._state = State.RUNNING


def _never() -> Reader:
    raise AssertionError("a feed is not opened")
