"""A service as a program sees it."""

import asyncio
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import uvicorn

from fer_edge.errors import FerEdgeError, ServingError, UsageError
from fer_edge.runtime.detection import Detector
from fer_edge.runtime.listening import address_of, is_local, listen
from fer_edge.serving.app import Application
from fer_edge.serving.connection import Connection
from fer_edge.serving.limits import Limits
from fer_edge.serving.metrics import Metrics
from fer_edge.serving.models import Model, Source
from fer_edge.serving.photos import Photos

_CONNECTIONS = 1000
"""More get 503. Systems let a process have 1,024 files open unless told otherwise."""
_LAST_ANSWERS = 1.0
"""Seconds at the end in which clients with open connections may ask once more, and are told with
the answer that it was the last."""
_LOOK_EVERY = 0.05


class Service:
    """Serves models by the Open Inference Protocol v2, and finds faces in photos, over HTTP.

    A context manager: the models are loaded by the constructor, and freed at its end.

    Parameters
    ----------
    sources : sequence of Source
        The first model is that of photos which name none.
    host : str
        Address to listen on. ``"0.0.0.0"`` lets other machines in.
    port : int
        0 takes a free one.
    token : str, optional
        What clients must know. By default none is asked for on this machine alone, and a random one
        otherwise.
    limits : Limits
    detector : callable, optional
        Makes what finds faces in photos; without one, photos are refused.

    Raises
    ------
    UsageError
        No model, two of one name, or no such port.
    FerEdgeError
        A model cannot be loaded.

    Examples
    --------
    >>> with Service([Source("compact")], port=8000) as service:
    ...     service.run(print)  # until SIGTERM or Ctrl-C
    """

    def __init__(
        self,
        sources: Sequence[Source],
        host: str = "127.0.0.1",
        port: int = 8000,
        token: str | None = None,
        *,
        limits: Limits | None = None,
        detector: Callable[[], Detector] | None = None,
    ) -> None:
        names = [source.name for source in sources]
        if not names:
            raise UsageError("There is no model to serve.")
        for name in names:
            if names.count(name) > 1:
                raise UsageError(
                    f"Two models are named {name}.", hint="Tell them apart: --model NAME=FOLDER"
                )
        if not 0 <= port <= 65535:
            raise UsageError(f"There is no port {port}.", hint="Give 0 to 65535.")
        self._host, self._port = host, port
        self._token = token or (None if is_local(host) else secrets.token_urlsafe(16))
        self._limits = limits or Limits()
        self._metrics = Metrics()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.models: dict[str, Model] = {}
        with ExitStack() as stack:
            for source in sources:
                model = Model(source, self._limits.queue, self._metrics)
                stack.callback(model.close)
                self.models[source.name] = model
            self._photos = None
            if detector is not None:
                self._photos = Photos(detector, self._limits)
                photos = self._photos
                self._metrics.watch_photos(lambda: photos.waiting)
                stack.callback(photos.close)
            self._stack = stack.pop_all()

    def run(self, ready: Callable[[str], object], told: Callable[[str], object] = print) -> None:
        """Serve until SIGTERM or Ctrl-C; what was accepted is answered. The second time ends it.

        SIGHUP loads all models again. Belongs in the main thread.

        Parameters
        ----------
        ready : callable
            Called with the address, the token within, once it is listened on.
        told : callable
            Called with what models that were loaded again have to say.

        Raises
        ------
        ServingError
            The port is taken, or the host is not an address of this machine.
        """
        with self._listening() as listener:
            server = self._make_server()
            with _signals(server, lambda: self._reload_all(told)):
                asyncio.run(server.serve_on(listener, lambda: ready(self._url(listener))))

    def start(self) -> str:
        """Serve in a thread; returns the address, the token within. Raises as :meth:`run` does."""
        listener = self._stack.enter_context(self._listening())
        server = self._server = self._make_server()
        begun = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(server.serve_on(listener, begun.set)),
            name="fer-edge service",
            daemon=True,
        )
        self._thread.start()
        begun.wait()
        return self._url(listener)

    def close(self) -> None:
        """Answer what was accepted, free the port and the models. May be called more than once."""
        if self._server is not None and self._thread is not None:
            self._server.ask_to_end()
            self._thread.join()
            self._server = self._thread = None
        self._stack.close()

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _listening(self) -> socket.socket:
        return listen(self._host, self._port, "The service", ServingError)

    def _url(self, listener: socket.socket) -> str:
        return address_of(listener, self._host, self._token)

    def _make_server(self) -> "_Server":
        application = Application(
            self.models,
            self._photos,
            limits=self._limits,
            metrics=self._metrics,
            token=self._token,
        )
        return _Server(application, self._limits)

    async def _reload_all(self, told: Callable[[str], object]) -> None:
        for model in self.models.values():
            told(await _reloaded(model))


async def _reloaded(model: Model) -> str:
    try:
        await model.reload()
    except FerEdgeError as error:
        return f"{model.name} cannot be loaded, and stays as it is. {error}"
    return f"{model.name} is loaded again."


class _Server(uvicorn.Server):
    """uvicorn's, with an end that loses nothing."""

    def __init__(self, application: Application, limits: Limits) -> None:
        super().__init__(
            uvicorn.Config(
                application.app,
                interface="asgi3",
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                ws="none",
                http=Connection,
                limit_concurrency=_CONNECTIONS,
                timeout_graceful_shutdown=max(1, round(limits.timeout)),
            )
        )
        self._application = application
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Task[None] | None = None
        self._asked = 0

    async def serve_on(self, listener: socket.socket, ready: Callable[[], object]) -> None:
        """Serve until :meth:`ask_to_end`, in the running loop."""
        self._loop = asyncio.get_running_loop()
        ready()
        if not self._asked:
            await self.serve([listener])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: they are the service's."""
        yield

    def ask_to_end(self) -> None:
        """From any thread, or a signal; what was accepted is answered, unless it is asked twice."""
        self._asked += 1
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin_end)

    def _begin_end(self) -> None:
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())
        elif self._asked > 1:
            self.should_exit = self.force_exit = True

    async def _end(self) -> None:
        self._application.draining = True
        for server in getattr(self, "servers", ()):
            server.close()
        end = asyncio.get_running_loop().time() + _LAST_ANSWERS
        while self.server_state.connections and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(_LOOK_EVERY)
        self.should_exit = True

    def call(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Start a coroutine in the server's loop, from any thread or a signal."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(work(), self._loop)


@contextmanager
def _signals(server: _Server, reload: Callable[[], Coroutine[None, None, None]]) -> Iterator[None]:
    handlers: dict[int, Callable[..., object]] = {
        signal.SIGINT: lambda *_: server.ask_to_end(),
        signal.SIGTERM: lambda *_: server.ask_to_end(),
    }
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = lambda *_: server.call(reload)
    before = {one: signal.signal(one, handler) for one, handler in handlers.items()}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
