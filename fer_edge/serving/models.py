"""Models that are served, and loaded again without a request lost."""

import asyncio
import re
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fer_edge.engines.base import Faces
from fer_edge.errors import FerEdgeError, UsageError
from fer_edge.runtime.recognizer import Prediction, Recognizer
from fer_edge.serving.answers import Answers
from fer_edge.serving.metrics import Metrics
from fer_edge.serving.refusal import RefusalError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_UNBOUNDED = 2**31
"""Faces that a Recognizer lets wait: the service counts its own, as the event loop must not wait
for room."""


@dataclass(frozen=True)
class Source:
    """Where a model comes from, and how it is run.

    Raises
    ------
    UsageError
        A name that cannot stand in an address.
    """

    name: str
    path: Path | None = None
    """Artifact folder or ONNX file; None for the model that the package carries."""
    precision: str = "auto"
    backend: str = "auto"
    threads: int | None = None
    device: str = "auto"
    batch: int = 64

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} is no name for a model in an address.",
                hint="Take letters, digits, points, hyphens and underscores.",
            )

    def open(self, on_batch: Callable[[int, float], None]) -> Recognizer:
        """Load the model; raises as :class:`fer_edge.Recognizer` does."""
        return Recognizer(
            self.path,
            precision=self.precision,
            backend=self.backend,
            threads=self.threads,
            device=self.device,
            batch=self.batch,
            max_pending=_UNBOUNDED,
            on_batch=on_batch,
        )


class Loaded:
    """A model as it was loaded; closed once it has been replaced and nobody needs it.

    Everything but the constructor belongs to the event loop.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self.info = recognizer.describe()
        self._users = 0
        self._retired: asyncio.Future[None] | None = None

    def hold(self) -> None:
        """One more needs it."""
        self._users += 1

    def let_go(self) -> None:
        """One needs it no more."""
        self._users -= 1
        if self._users == 0 and self._retired is not None and not self._retired.done():
            self._retired.set_result(None)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Needed for as long as the context lasts."""
        self.hold()
        try:
            yield
        finally:
            self.let_go()

    async def retire(self) -> None:
        """Close it after all who need it."""
        loop = asyncio.get_running_loop()
        if self._users:
            self._retired = loop.create_future()
            await self._retired
        await loop.run_in_executor(None, self.recognizer.close)


class Model:
    """A name under which a model is served.

    Parameters
    ----------
    source : Source
    queue : int
        Faces that are accepted and not yet answered, at a time.
    metrics : Metrics

    Raises
    ------
    FerEdgeError
        The model cannot be loaded.
    """

    def __init__(self, source: Source, queue: int, metrics: Metrics) -> None:
        self.name = source.name
        self.source = source
        self.waiting = 0
        """Faces that are accepted and not yet answered."""
        self._queue = queue
        self._metrics = metrics
        self._on_batch = metrics.batches_of(source.name)
        metrics.watch_queue(source.name, lambda: self.waiting)
        self.current = self._load()
        self._reloading: asyncio.Lock | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    def classify(
        self, loaded: Loaded, faces: Faces, client: Hashable, answers: Answers
    ) -> "tuple[asyncio.Future[list[Prediction]], Callable[[], object]]":
        """Hand in faces; what to wait for, and what gives them up.

        More than a batch goes in parts, so that others take their turns between them.

        Raises
        ------
        RefusalError
            429: the queue is full.
        """
        if self.waiting + len(faces) > self._queue:
            raise RefusalError(
                429,
                f"{self.waiting} faces wait for {self.name}, of {self._queue} at most. Try again.",
                retry_after=1,
                dropped="queue_full",
            )
        step = self.source.batch
        parts: list[tuple[Future[Prediction], Callable[[], None]]] = []
        for start in range(0, max(len(faces), 1), step):
            part = faces[start : start + step]
            future = loaded.recognizer.submit(part, source=client)
            parts.append((future, self._taken(loaded, len(part))))
        return answers.expect(parts), lambda: [future.cancel() for future, _ in parts]

    def _taken(self, loaded: Loaded, faces: int) -> Callable[[], None]:
        self.waiting += faces
        loaded.hold()

        def done() -> None:
            self.waiting -= faces
            loaded.let_go()

        return done

    async def reload(self) -> None:
        """Load the model again; requests under way end on the one before, which then is closed.

        Raises
        ------
        FerEdgeError
            It cannot be loaded; the one before stays.
        """
        if self._reloading is None:
            self._reloading = asyncio.Lock()
        async with self._reloading:
            before = self.current
            self.current = await asyncio.get_running_loop().run_in_executor(None, self._load)
            task = asyncio.ensure_future(before.retire())
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    def close(self) -> None:
        """Free the model, once nobody needs it."""
        self.current.recognizer.close()

    def _load(self) -> Loaded:
        try:
            loaded = Loaded(self.source.open(self._on_batch))
        except FerEdgeError:
            self._metrics.loaded(self.name, "failed")
            raise
        self._metrics.loaded(self.name, "loaded")
        return loaded
