"""From the threads that compute to the event loop that answers."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from fer_edge.serving.refusal import RefusalError

Result = TypeVar("Result")


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


@dataclass(eq=False)
class _Waiter:
    """One who waits for several futures."""

    futures: "list[Future[Any]]"
    told: "asyncio.Future[list[Any]]"
    left: int


class Answers:
    """Hands what futures give to the running loop, which is woken once for all of a batch.

    asyncio's own ``wrap_future`` wakes it for each, which costs more than the answer.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done: deque[tuple[Future[Any], _Waiter, Callable[[], None]]] = deque()
        self._woken = False

    def expect(
        self, parts: "Sequence[tuple[Future[Result], Callable[[], None]]]"
    ) -> "asyncio.Future[list[Result]]":
        """What the loop can wait for: the results of all parts, or what one of them raises.

        Each future comes with what is to be called in the loop once it is done.
        """
        told: asyncio.Future[list[Result]] = self._loop.create_future()
        waiter = _Waiter([future for future, _ in parts], told, len(parts))
        for future, then in parts:
            future.add_done_callback(lambda done, then=then: self._take(done, waiter, then))  # type: ignore[misc]
        return told

    def _take(self, future: "Future[Any]", waiter: _Waiter, then: Callable[[], None]) -> None:
        """In any thread."""
        self._done.append((future, waiter, then))
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop has ended, and all who waited
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # In this order, nothing that comes in meanwhile is left lying.
        self._woken = False
        while self._done:
            future, waiter, then = self._done.popleft()
            then()
            waiter.left -= 1
            if waiter.told.done():
                continue
            if future.cancelled():
                waiter.told.cancel()
            elif (error := future.exception()) is not None:
                waiter.told.set_exception(error)
            elif not waiter.left:
                waiter.told.set_result([one.result() for one in waiter.futures])


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

    def fail(error: Callable[[], Exception]) -> None:
        if not waiter.done():
            waiter.set_exception(error())

    # asyncio.wait for both takes longer than all of this.
    gone = loop.create_task(_gone(receive))
    gone.add_done_callback(lambda _: fail(ClientGoneError))
    timer = loop.call_at(deadline, fail, _late)
    try:
        return await waiter
    except (ClientGoneError, RefusalError, asyncio.CancelledError):
        give_up()
        raise
    finally:
        timer.cancel()
        gone.cancel()


def _late() -> RefusalError:
    return RefusalError(504, "There was no answer in the time given.", dropped="deadline")


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
