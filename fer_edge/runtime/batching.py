"""Faces of many callers in one call of the engine."""

import atexit
import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from fer_edge.engines.base import Faces, Probabilities
from fer_edge.engines.frames import Crops, joined
from fer_edge.engines.on_gpu import OnGpu
from fer_edge.errors import InferenceError, InputError, UsageError
from fer_edge.forking import watch_forks

Result = TypeVar("Result")


class _Future(Future[Result]):
    """A future that knows when the thread that would answer it is not here."""

    lost = False
    """In a child that was forked before the answer."""

    def result(self, timeout: float | None = None) -> Result:
        self._check()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._check()
        return super().exception(timeout)

    def _check(self) -> None:
        if self.lost:
            raise InferenceError(
                "This answer went to the process that this one was forked from.",
                hint="Submit the faces again, to a Recognizer opened after the fork.",
            )


@dataclass(eq=False)
class _Request(Generic[Result]):
    faces: Faces | Crops
    live: bool
    entered: float
    future: "_Future[Result]" = field(default_factory=lambda: _Future())


class Batcher(Generic[Result]):
    """Collects requests and runs them together; futures give the results back.

    The faces of a request stay in one batch. Sources take turns, a request each, so that none
    waits for another's queue. The engine starts as soon as every source of the batch before has
    asked again or the batch is full, and waits for the others no longer than ``max_delay_ms`` after
    that batch: a lone caller never waits, nor do callers who ask now and then.

    The queue is bounded. Where a request does not fit, the oldest live ones are given up (their
    futures are cancelled); a request that is not live waits for room and is never given up. One
    made in a future's callback goes in at once, as the thread that makes room is its own. Whoever
    cancels a future gives up its request, unless the engine has begun on it.

    Parameters
    ----------
    run : callable
        From uint8 faces (N, ...), or such on a GPU, to float32 probabilities (N, labels). Called by
        one thread at a time, and by callbacks of futures.
    result : callable
        Makes what a future gives from the probabilities of its request.
    max_batch : int
        Most faces in a call; a larger request runs alone, and ``run`` must take it.
    max_delay_ms : float
        Longest time that the engine stays idle for those who shared the batch before.
    max_pending : int
        Most faces that wait; a larger request waits until it is alone.

    Raises
    ------
    UsageError
        A bound that is not positive.
    """

    def __init__(
        self,
        run: Callable[[Faces | OnGpu], Probabilities],
        result: Callable[[Probabilities], Result],
        *,
        max_batch: int = 64,
        max_delay_ms: float = 2.0,
        max_pending: int = 512,
    ) -> None:
        for name, value in (("max_batch", max_batch), ("max_pending", max_pending)):
            if value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}.")
        if not max_delay_ms >= 0:
            raise UsageError(f"max_delay_ms must be 0 or more, got {max_delay_ms}.")
        self._run = run
        self._result = result
        self._max_batch = max_batch
        self._delay = max_delay_ms / 1e3
        self._max_pending = max_pending
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        """What the engine's thread waits for."""
        self._room = threading.Condition(self._lock)
        """What callers wait for whose faces do not fit."""
        self._collecting = False
        """The engine's thread waits for those who shared the last batch."""
        self._queues: dict[Hashable, deque[_Request[Result]]] = {}
        self._waiting = 0
        self._running = False
        self._before: frozenset[Hashable] = frozenset()
        self._missing: set[Hashable] = set()
        """Those of them who have not asked again."""
        self._finished = 0.0
        self._closed = False
        self.dropped = 0
        """Live requests given up."""
        self._thread: threading.Thread | None = None
        self._requests: weakref.WeakSet[_Request[Result]] = weakref.WeakSet()
        """Those under way, whatever holds them."""
        watch_forks(self)

    def after_fork(self) -> None:
        """In a child, begin anew: neither the thread nor the callers of the parent are here."""
        self._lock = threading.Lock()
        self._news, self._room = threading.Condition(self._lock), threading.Condition(self._lock)
        for request in list(self._requests):
            request.future.lost = True
        self._requests.clear()
        self._queues, self._waiting = {}, 0
        self._collecting = self._running = False
        self._before, self._missing = frozenset(), set()
        self._thread = None

    def submit(
        self, faces: Faces | Crops, *, source: Hashable | None = None, live: bool = False
    ) -> "Future[Result]":
        """Hand in faces, shape (N, ...). Blocks while the queue is full, unless ``live``.

        Parameters
        ----------
        faces : uint8 array, or Crops
        source : hashable, optional
            Whose turn it takes; by default the calling thread's.
        live : bool
            May be given up for newer ones: then the future is cancelled.

        Raises
        ------
        InferenceError
            The batcher is closed.
        InputError
            No faces.
        """
        if len(faces) == 0:
            raise InputError("A request needs a face at least.", hint="Skip frames without faces.")
        request: _Request[Result] = _Request(faces, live, time.monotonic())
        given_up: list[_Request[Result]] = []
        try:
            with self._lock:
                if live:
                    given_up += self._make_room(len(faces))
                elif threading.current_thread() is not self._thread:
                    self._room.wait_for(lambda: self._closed or self._fits(len(faces)))
                self._check_open()
                if live and not self._fits(len(faces)):
                    self.dropped += 1
                    given_up.append(request)
                    return request.future
                if self._thread is None:
                    # A thread that comes out of an engine while Python ends aborts the program.
                    atexit.register(self.close)
                    thread = threading.Thread(
                        target=self._work, name="fer-edge batches", daemon=True
                    )
                    thread.start()  # where Ctrl-C may strike
                    self._thread = thread
                self._requests.add(request)
                key = threading.get_ident() if source is None else source
                self._queues.setdefault(key, deque()).append(request)
                self._waiting += len(faces)
                self._missing.discard(key)
                # Waking the thread for every request costs more than the request.
                if not self._collecting or self._complete():
                    self._news.notify()
        finally:
            # Without the lock: the callbacks of a cancelled future run here, and may submit again.
            for one in given_up:
                one.future.cancel()
        return request.future

    def answer(self, faces: Faces | Crops, *, live: bool = False) -> Result:
        """Hand in faces, shape (N, ...), none included, and wait for their result.

        As ``submit(faces, live=live).result()``, but where the engine is free and nobody waits, the
        calling thread runs it: handing over takes 0.15 ms, and more on a machine that is busy.

        Raises
        ------
        concurrent.futures.CancelledError
            The request was live, and was given up.
        InferenceError
            The batcher is closed, or the engine failed.
        """
        own = len(faces) == 0 or threading.current_thread() is self._thread
        alone = False
        try:
            with self._lock:
                self._check_open()
                alone = not (own or self._running or self._waiting)
                self._running |= alone
            if own or alone:
                return self._result(self._run(faces))
            return self.submit(faces, live=live).result()
        finally:
            if alone:
                self._free(frozenset())

    def close(self) -> None:
        """Finish the batch in progress; what waits fails. May be called more than once."""
        with self._lock:
            self._closed = True
            left = [request for queue in self._queues.values() for request in queue]
            self._queues.clear()
            self._waiting = 0
            self._news.notify()
            self._room.notify_all()
        for request in left:
            if request.future.set_running_or_notify_cancel():
                request.future.set_exception(InferenceError("The batcher was closed."))
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        atexit.unregister(self.close)

    def __enter__(self) -> "Batcher[Result]":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise InferenceError("The batcher is closed.")

    def _fits(self, faces: int) -> bool:
        return self._waiting == 0 or self._waiting + faces <= self._max_pending

    def _make_room(self, faces: int) -> list[_Request[Result]]:
        """Take the oldest live requests out of the queue; the caller cancels their futures."""
        given_up = []
        while not self._fits(faces):
            live = [queue for queue in self._queues.values() if any(r.live for r in queue)]
            if not live:
                break
            oldest = min(
                ((next(r for r in queue if r.live), queue) for queue in live),
                key=lambda pair: pair[0].entered,
            )
            oldest[1].remove(oldest[0])
            self._waiting -= len(oldest[0].faces)
            self.dropped += 1
            given_up.append(oldest[0])
        return given_up

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            running = [r for r in batch if r.future.set_running_or_notify_cancel()]
            failure: Exception | None = None
            results: list[Result] = []
            try:
                if running:
                    found = self._run(joined([r.faces for r in running]))
                    ends = list(itertools.accumulate(len(r.faces) for r in running))
                    results = [self._result(part) for part in np.split(found, ends[:-1])]
            except Exception as error:  # an engine's; the next batch may fare better
                failure = error
            self._free(self._before)
            if failure is not None:
                for request in running:
                    request.future.set_exception(failure)
                continue
            for request, result in zip(running, results, strict=True):
                request.future.set_result(result)
                self._requests.discard(request)

    def _free(self, before: frozenset[Hashable]) -> None:
        """The engine has done a batch; ``before`` shared it."""
        with self._lock:
            self._running = False
            self._before = before
            self._missing = {source for source in before if not self._queues.get(source)}
            self._finished = time.monotonic()
            self._news.notify()

    def _next_batch(self) -> list[_Request[Result]] | None:
        with self._lock:
            self._news.wait_for(self._may_start)
            if self._closed:
                return None
            oldest = min(queue[0].entered for queue in self._queues.values() if queue)
            end = min(oldest, self._finished) + self._delay
            self._collecting = True
            # Closed in the meantime, there is nothing to take.
            self._news.wait_for(self._complete, end - time.monotonic())
            self._collecting = False
            batch = self._take()
            self._running = True
            self._room.notify_all()
            return batch

    def _may_start(self) -> bool:
        return self._closed or (self._waiting > 0 and not self._running)

    def _complete(self) -> bool:
        return self._closed or self._waiting >= self._max_batch or not self._missing

    def _take(self) -> list[_Request[Result]]:
        self._forget_cancelled()
        batch: list[_Request[Result]] = []
        size = 0
        sources = []
        progress = True
        while progress:
            progress = False
            for source, queue in list(self._queues.items()):
                if queue and (not batch or size + len(queue[0].faces) <= self._max_batch):
                    request = queue.popleft()
                    batch.append(request)
                    size += len(request.faces)
                    sources.append(source)
                    progress = True
        # Whoever was served goes to the end of the line.
        for source in dict.fromkeys(sources):
            queue = self._queues.pop(source)
            if queue:
                self._queues[source] = queue
        self._before = frozenset(sources)
        self._waiting -= size
        return batch

    def _forget_cancelled(self) -> None:
        """What nobody waits for any more takes no place in a batch."""
        for source, queue in list(self._queues.items()):
            if any(request.future.cancelled() for request in queue):
                self._waiting -= sum(len(r.faces) for r in queue if r.future.cancelled())
                left = deque(r for r in queue if not r.future.cancelled())
                if left:
                    self._queues[source] = left
                else:
                    del self._queues[source]
