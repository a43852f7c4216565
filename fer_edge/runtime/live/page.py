"""The live page as a program sees it."""

import asyncio
import secrets
import socket
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fer_edge.errors import LivePageError, MissingDependencyError, UsageError
from fer_edge.runtime.capture import Camera
from fer_edge.runtime.listening import address_of, is_local, listen
from fer_edge.runtime.live.broadcast import Broadcast
from fer_edge.runtime.moment import Moment

if TYPE_CHECKING:
    import uvicorn

NOTICE = "A program guesses from this picture which expression faces show."
"""For the people in the picture: the AI Act of the European Union, Article 50(3), asks to inform
them."""
_PATIENCE = 1.0
"""Seconds that viewers have to let go when the page is closed."""


class LivePage:
    """Shows moments to browsers: video, boxes, emotions and the state of every stream.

    The server runs in a thread of its own. A picture is encoded when the first viewer is ready for
    it and once for all of them; without viewers, none is. A viewer tells when it is ready for more,
    so that a slow one skips frames and keeps neither the program nor the others waiting.

    Parameters
    ----------
    host : str
        Address to listen on. ``"0.0.0.0"`` lets other machines in.
    port : int
        0 takes a free one.
    token : str, optional
        What a viewer must know. By default none is asked for on this machine alone, and a random
        one otherwise.
    notice : str, optional
        A line for the people in the picture, such as :data:`NOTICE`.
    cameras : sequence of Camera
        Those whose state the page tells (lost, and why); it shows moments of others as well.

    Raises
    ------
    UsageError
        No such port, or two cameras have one name.

    Examples
    --------
    >>> with LivePage(port=8080, cameras=[camera]) as page:
    ...     print(page.start())
    ...     for moment in recognizer.watch(camera):
    ...         page.show(moment)
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 8080,
        token: str | None = None,
        *,
        notice: str | None = None,
        cameras: Sequence[Camera] = (),
    ) -> None:
        if not 0 <= port <= 65535:
            raise UsageError(f"There is no port {port}.", hint="Give 0 to 65535.")
        self._host = host
        self._port = port
        self._token = token or (None if is_local(host) else secrets.token_urlsafe(16))
        self._notice = notice
        self._broadcast = Broadcast(cameras)
        self._url: str | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> str:
        """Serve the page; returns its address, the token within. More calls change nothing.

        Raises
        ------
        LivePageError
            The port is taken, or the host is not an address of this machine.
        MissingDependencyError
            The extra ``web`` is not installed.
        """
        if self._url is not None:
            return self._url
        try:
            import uvicorn
            import websockets  # noqa: F401, which uvicorn takes if it is there

            from fer_edge.runtime.live.app import make_app
        except ImportError as error:
            raise MissingDependencyError(
                f"The live page needs starlette, uvicorn and websockets ({error}).",
                hint="Run: pip install 'fer-edge[web]'",
            ) from error
        listener = listen(self._host, self._port, "The live page", LivePageError)
        url = address_of(listener, self._host, self._token)
        self._server = uvicorn.Server(
            uvicorn.Config(
                make_app(self._broadcast, self._token, self._notice),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                ws_max_size=2**16,
                # A JPEG does not get smaller.
                ws_per_message_deflate=False,
            )
        )
        ready = threading.Event()
        self._thread = threading.Thread(
            target=asyncio.run,
            args=[self._serve(self._server, listener, ready)],
            name="fer-edge live page",
            daemon=True,
        )
        self._thread.start()
        ready.wait()
        self._url = url
        return url

    def show(self, moment: Moment) -> None:
        """Show what was seen, from any thread; returns at once.

        The image is not copied: do not draw into it any more.
        """
        self._broadcast.show(moment)

    def close(self) -> None:
        """Let the viewers go and free the port. May be called more than once."""
        if self._server is None or self._thread is None:
            return
        self._broadcast.end()
        self._server.should_exit = True
        self._thread.join(_PATIENCE)
        self._server.force_exit = True
        self._thread.join()
        self._server = self._thread = self._url = None

    def __enter__(self) -> "LivePage":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def _serve(
        self, server: "uvicorn.Server", listener: socket.socket, ready: threading.Event
    ) -> None:
        with self._broadcast.running():
            ready.set()
            await server.serve(sockets=[listener])
