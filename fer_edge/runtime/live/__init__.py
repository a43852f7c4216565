"""What is seen, in a browser: :class:`LivePage`."""

from fer_edge.runtime.live.page import NOTICE, LivePage

__all__ = ["NOTICE", "LivePage"]
