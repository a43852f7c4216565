"""From the threads that compute to the event loop that answers."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

from fer_edge.serving.refusal import RefusalError

Result = TypeVar("Result")


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Answers:
    """Hands what futures give to the running loop, which is woken once for all of a batch.

    asyncio's own ``wrap_future`` wakes it for each, which costs more than the answer.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done: deque[tuple[Future[Any], asyncio.Future[Any], Callable[[], None]]] = deque()
        self._woken = False

    def expect(
        self, future: "Future[Result]", then: Callable[[], None]
    ) -> "asyncio.Future[Result]":
        """What the loop can wait for; ``then`` is called in the loop once the future is done."""
        waiter: asyncio.Future[Result] = self._loop.create_future()

        def done(future: "Future[Result]") -> None:
            self._done.append((future, waiter, then))
            if not self._woken:
                self._woken = True
                with suppress(RuntimeError):  # the loop has ended, and all who waited
                    self._loop.call_soon_threadsafe(self._deliver)

        future.add_done_callback(done)
        return waiter

    def _deliver(self) -> None:
        # In this order, nothing that comes in meanwhile is left lying.
        self._woken = False
        while self._done:
            future, waiter, then = self._done.popleft()
            then()
            if waiter.done():
                continue
            try:
                waiter.set_result(future.result())
            except CancelledError:
                waiter.cancel()
            except Exception as error:
                waiter.set_exception(error)


async def answered(
    waiter: "asyncio.Future[Result]",
    give_up: Callable[[], object],
    receive: Callable[[], Awaitable[Any]],
    deadline: float,
) -> Result:
    """Wait for an answer as long as it is of use.

    Parameters
    ----------
    waiter : asyncio.Future
    give_up : callable
        Called where nobody needs the answer.
    receive : callable
        ASGI's, of a request whose body has been read: next comes that the client has gone.
    deadline : float
        In the loop's time.

    Raises
    ------
    RefusalError
        504: past the deadline.
    ClientGoneError
        The client hung up.
    """
    loop = asyncio.get_running_loop()
    gone = asyncio.ensure_future(_gone(receive))
    try:
        both: list[asyncio.Future[Any]] = [waiter, gone]
        await asyncio.wait(
            both, timeout=deadline - loop.time(), return_when=asyncio.FIRST_COMPLETED
        )
        if waiter.done():
            return waiter.result()
        if gone.done():
            raise ClientGoneError
        raise RefusalError(504, "There was no answer in the time given.", dropped="deadline")
    finally:
        gone.cancel()
        if not waiter.done():
            give_up()
            waiter.cancel()


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
