"""One browser that looks at the page."""

import asyncio
import json
import time
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from fer_edge.runtime.live.broadcast import Broadcast
from fer_edge.runtime.live.stream import HISTORY_SECONDS
from fer_edge.runtime.palette import tones

_IN_FLIGHT = 2
"""Messages that a viewer may have and not have answered: one to draw while one travels."""
_STATUS_SECONDS = 1.0
_POLICY_VIOLATION, _GOING_AWAY = 1008, 1001


class Viewer:
    """Sends a viewer what it wants to see, whenever it is ready.

    The viewer says ``{"see": names}``, or null for all, and ``next`` after each message it has
    dealt with. It gets the last minute of the faces and then, every second, the state of all
    sources, as JSON with the time that it is ``now``, by the clock of the moments; and the newest
    moments of the sources that it wants to see, in turn, as
    :func:`fer_edge.runtime.live.message.encode_moment` packs them. A moment that comes while it is
    busy is replaced by the next: nothing waits in a queue.
    """

    def __init__(self, websocket: WebSocket, broadcast: Broadcast) -> None:
        self._websocket = websocket
        self._broadcast = broadcast
        self.news = asyncio.Event()
        self.leaving = asyncio.Event()
        self._wanted: set[str] | None = None
        self._wants_history = False
        self._ready = False
        self._unanswered = 0
        self._status_due = 0.0
        self._seen: dict[str, int] = {}
        """The newest moment that was sent of each source, the source that waits longest first."""

    async def serve(self) -> None:
        """Send until the viewer leaves or the page is closed."""
        tasks = [
            asyncio.create_task(work)
            for work in (self._send(), self._listen(), self.leaving.wait())
        ]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        if self.leaving.is_set():
            await self._hang_up(_GOING_AWAY)
        for task in done:
            with suppress(WebSocketDisconnect):
                task.result()

    async def _listen(self) -> None:
        while (message := await self._websocket.receive())["type"] == "websocket.receive":
            text = message.get("text")
            if text == "next":
                self._unanswered = max(self._unanswered - 1, 0)
            else:
                try:
                    wanted = json.loads(text or "")["see"]
                    self._wanted = None if wanted is None else set(wanted)
                except (ValueError, TypeError, LookupError, RecursionError):
                    return await self._hang_up(_POLICY_VIOLATION)
                self._ready = self._wants_history = True
            self.news.set()
        return None

    async def _send(self) -> None:
        while True:
            self.news.clear()
            free = self._ready and self._unanswered < _IN_FLIGHT
            message = await self._next() if free else None
            if message is None:
                alarm = asyncio.get_running_loop().call_later(_STATUS_SECONDS / 2, self.news.set)
                await self.news.wait()
                alarm.cancel()
                continue
            self._unanswered += 1
            if isinstance(message, bytes):
                await self._websocket.send_bytes(message)
            else:
                await self._websocket.send_text(json.dumps(message, separators=(",", ":")))

    async def _next(self) -> bytes | dict[str, object] | None:
        now = time.monotonic()
        if self._wants_history:
            self._wants_history = False
            wanted = [s for s in self._broadcast.streams if self._wants(s.name)]
            return {
                "now": now,
                "past": {s.name: s.history() for s in wanted},
                "seconds": HISTORY_SECONDS,
                "emotions": {s.name: s.classes for s in wanted},
                "tones": tones(label for s in wanted for label in s.classes),
            }
        if now >= self._status_due:
            self._status_due = now + _STATUS_SECONDS
            return {"now": now, "sources": [s.status() for s in self._broadcast.streams]}
        news = {
            stream.name: stream
            for stream in self._broadcast.streams
            if self._wants(stream.name) and stream.count > self._seen.get(stream.name, 0)
        }
        if not news:
            return None
        order = [name for name in news if name not in self._seen] + list(self._seen)
        name = next(name for name in order if name in news)
        self._seen.pop(name, None)
        self._seen[name], message = await news[name].message()
        return message

    def _wants(self, name: str) -> bool:
        return self._wanted is None or name in self._wanted

    async def _hang_up(self, code: int) -> None:
        # One that does not read would not let go either.
        with suppress(asyncio.TimeoutError, WebSocketDisconnect, RuntimeError):
            await asyncio.wait_for(self._websocket.close(code), 0.5)
