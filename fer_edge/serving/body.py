"""What clients send, within limits."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from fer_edge.serving.answers import ClientGoneError
from fer_edge.serving.limits import Limits
from fer_edge.serving.refusal import RefusalError

_THROWN_AWAY = 8
"""Times the limit that is read of a body that is too large: most clients send all before they look
for an answer, and find no 413 where the connection breaks under them."""
_AT_ONCE = 8
"""Times the limit of one body that all which are being read may take."""


class Bodies:
    """Reads the bodies of requests; all together, too, have a limit."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """The body of a request.

        Raises
        ------
        RefusalError
            408, 413, 415 or 429, and why.
        ClientGoneError
            The client hung up.
        """
        coding = request.headers.get("content-encoding", "identity").lower()
        if coding != "identity":
            raise RefusalError(415, f"Send the body as it is, not as {coding}.", last=True)
        length = request.headers.get("content-length", "")
        declared = int(length) if length.isdecimal() else 0
        kept: list[bytes] = []
        try:
            with _within(self._limits.timeout):
                size = await self._collect(request, declared, kept)
        except TimeoutError as error:
            raise RefusalError(
                408, f"The body did not come within {self._limits.timeout:g} s.", last=True
            ) from error
        finally:
            self._held -= sum(map(len, kept))
        if size > self._limits.bytes:
            raise RefusalError(
                413,
                f"The body is larger than {self._limits.megabytes:g} MB, the most taken here.",
                last=True,
            )
        return kept[0] if len(kept) == 1 else b"".join(kept)

    async def _collect(self, request: Request, declared: int, kept: list[bytes]) -> int:
        """The size of the body, as far as it was read; ``kept`` is empty where that is too much."""
        size = 0
        most = self._limits.bytes
        more = True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(chunk)
            if max(size, declared) <= most:
                if self._held + len(chunk) > _AT_ONCE * most:
                    raise RefusalError(
                        429,
                        "Many large requests are being read. Try again.",
                        retry_after=1,
                        last=True,
                        dropped="queue_full",
                    )
                kept.append(chunk)
                self._held += len(chunk)
            else:
                self._held -= sum(map(len, kept))
                kept.clear()
                if max(size, declared) > _THROWN_AWAY * most:
                    break
        return max(size, declared)


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """TimeoutError in what the running task waits for, after so long.

    anyio's, which does more, takes longer than to read most bodies.
    """
    task = asyncio.current_task()
    assert task is not None
    late = False

    def end() -> None:
        nonlocal late
        late = task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, end)
    try:
        yield
    except asyncio.CancelledError:
        if not late:
            raise
        raise TimeoutError from None
    finally:
        timer.cancel()
