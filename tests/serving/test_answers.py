"""From threads to the loop."""

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs pip install 'fer-edge[serve]'")

from fer_edge.serving.answers import Answers, ClientGoneError, answered
from fer_edge.serving.refusal import RefusalError


def run(work: Callable[[Answers, list[Future[int]], list[int]], Any]) -> list[dict[str, Any]]:
    """Run ``work`` on three futures; what the loop has to complain of."""
    complaints: list[dict[str, Any]] = []

    async def inside() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        futures: list[Future[int]] = [Future() for _ in range(3)]
        done: list[int] = []
        await work(Answers(), futures, done)
        await asyncio.sleep(0.05)
        gc.collect()

    asyncio.run(inside())
    gc.collect()
    return complaints


def parts(
    futures: list[Future[int]], done: list[int]
) -> list[tuple[Future[int], Callable[[], None]]]:
    return [(future, lambda i=i: done.append(i)) for i, future in enumerate(futures)]  # type: ignore[misc]


async def stays() -> dict[str, str]:
    await asyncio.sleep(60)
    return {"type": "http.disconnect"}


async def leaves() -> dict[str, str]:
    return {"type": "http.disconnect"}


async def soon(futures: list[Future[int]]) -> None:
    """Answer from a thread, the last first."""
    await asyncio.sleep(0.01)
    for i, future in reversed(list(enumerate(futures))):
        await asyncio.to_thread(future.set_result, i)


def test_the_results_of_all_parts_in_their_order() -> None:
    async def work(answers: Answers, futures: list[Future[int]], done: list[int]) -> None:
        task = asyncio.ensure_future(soon(futures))
        end = asyncio.get_running_loop().time() + 60
        told = await answered(answers.expect(parts(futures, done)), list, stays, end)
        assert told == [0, 1, 2]
        assert sorted(done) == [0, 1, 2]
        await task

    assert run(work) == []


@pytest.mark.parametrize(
    ("receive", "seconds", "raises"), [(leaves, 60, ClientGoneError), (stays, 0.05, RefusalError)]
)
def test_who_is_given_up_leaves_nothing_behind(
    receive: Callable[[], Any], seconds: float, raises: type[Exception]
) -> None:
    async def work(answers: Answers, futures: list[Future[int]], done: list[int]) -> None:
        # The engine has begun on the first.
        futures[0].set_running_or_notify_cancel()
        told = answers.expect(parts(futures, done))
        end = asyncio.get_running_loop().time() + seconds
        with pytest.raises(raises):
            await answered(told, lambda: [one.cancel() for one in futures], receive, end)
        await asyncio.sleep(0.01)
        assert sorted(done) == [1, 2]
        futures[0].set_result(0)
        await asyncio.sleep(0.01)
        assert sorted(done) == [0, 1, 2]

    assert run(work) == []


def test_one_part_that_fails_fails_all() -> None:
    async def work(answers: Answers, futures: list[Future[int]], done: list[int]) -> None:
        told = answers.expect(parts(futures, done))
        futures[1].set_exception(ValueError("oops"))
        end = asyncio.get_running_loop().time() + 60
        with pytest.raises(ValueError, match="oops"):
            await answered(told, list, stays, end)
        futures[0].set_exception(ValueError("again"))
        futures[2].set_result(2)
        await asyncio.sleep(0.01)
        assert sorted(done) == [0, 1, 2]

    assert run(work) == []
