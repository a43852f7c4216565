"""What is seen, in a browser: :class:`LivePage`."""

from fer_edge.runtime.live.page import LivePage

__all__ = ["LivePage"]
