"""Frames that wait for a GPU go through it together."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Waiting(Generic[Item, Answer]):
    """One call, until its turn."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.woken = threading.Event()
        self.answer: list[Answer] = []
        self.error: BaseException | None = None


class Gathering(Generic[Item, Answer]):
    """Lets calls of many threads through one at a time, those that waited in one batch.

    A call that comes alone goes at once. What comes while it is under way waits for its end, as it
    would have to anyway, and then goes together: the thread that has waited longest runs the batch
    for all. So nobody waits for a batch to fill.

    Parameters
    ----------
    run : callable
        From a batch to an answer for each item; called by one thread at a time. What it raises is
        raised to all of the batch.
    most : int
        Largest batch.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Sequence[Answer]], most: int) -> None:
        self._run = run
        self._most = most
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting[Item, Answer]] = deque()
        self._busy = False

    def __call__(self, item: Item) -> Answer:
        """Its answer."""
        own: _Waiting[Item, Answer] = _Waiting(item)
        with self._lock:
            self._waiting.append(own)
            leads = not self._busy
            self._busy = True
        if not leads:
            self._wait(own)
        if not (own.answer or own.error):
            self._lead()
        if own.error is not None:
            raise own.error
        return own.answer[0]

    def _wait(self, own: "_Waiting[Item, Answer]") -> None:
        try:
            own.woken.wait()
        except BaseException:  # Ctrl-C: others must not wait for who has gone
            with self._lock:
                if own in self._waiting:
                    self._waiting.remove(own)
                    if own.woken.is_set():
                        self._wake()
            raise

    def _lead(self) -> None:
        """Run the batch that the calling thread is the first of, and wake the next."""
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
        try:
            answers = self._run([one.item for one in batch])
            for one, answer in zip(batch, answers, strict=True):
                one.answer.append(answer)
        except BaseException as error:  # everybody's who waits for it
            for one in batch:
                one.error = error
        finally:
            for one in batch:
                one.woken.set()
            with self._lock:
                self._wake()

    def _wake(self) -> None:
        """Have the one that has waited longest lead."""
        self._busy = bool(self._waiting)
        if self._waiting:
            self._waiting[0].woken.set()
