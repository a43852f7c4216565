"""The protocol of what moments are given to."""

from typing import Protocol

from fer_edge.runtime.moment import Moment


class Sink(Protocol):
    """Takes moments as they come. :class:`fer_edge.runtime.live.LivePage` is one, too."""

    def show(self, moment: Moment) -> None:
        """Take a moment. The next frame waits for this."""

    def close(self) -> None:
        """Finish what was begun. May be called more than once."""
