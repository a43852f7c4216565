"""A client's connection."""

import asyncio
import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_PATIENCE = 10.0
"""Seconds without progress, twice as long at most, after which a connection is broken off: one that
was opened and says nothing, a request whose head never ends, an answer that is not read."""


class Connection(HttpToolsProtocol):
    """uvicorn's, that acknowledges at once, and does not wait for ever.

    Clients that send a request's head and body one after the other, as tritonclient does, wait with
    the second until the first is acknowledged, which Linux delays by 40 ms.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._socket: Any = transport.get_extra_info("socket")
        self._seen: tuple[object, int] = (self, 0)
        self._look_again()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if hasattr(socket, "TCP_QUICKACK") and not self.transport.is_closing():
            # Holds until the next acknowledgement.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _look_again(self) -> None:
        self._timer = self.loop.call_later(_PATIENCE, self._look)

    def _look(self) -> None:
        """Break off where nothing went on from one look to the next."""
        answered = self.cycle is None or self.cycle.response_complete
        # Between requests uvicorn has a timer of its own.
        waits = answered and self.timeout_keep_alive_task is None
        unread = self.transport.get_write_buffer_size()
        scope, unread_before = self._seen
        if (waits and scope is self.scope) or 0 < unread == unread_before:
            # A reset: else the system keeps what was not read for minutes.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
            return
        self._seen = (self.scope if waits else self, unread)
        self._look_again()
