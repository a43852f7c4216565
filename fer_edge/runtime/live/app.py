"""The routes of the live page."""

from html import escape
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from fer_edge.runtime.access import may_enter
from fer_edge.runtime.live.broadcast import Broadcast
from fer_edge.runtime.live.viewer import Viewer

_FILES = Path(__file__).with_name("static")
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src data:; object-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_REFUSAL = (
    "This page is not open to you.\n"
    "Take the address that the program printed, with all that follows '?token='. A page that has "
    "no token is for http://localhost on the machine where the program runs.\n"
)


def make_app(broadcast: Broadcast, token: str | None, notice: str | None = None) -> Starlette:
    """The page, what it is made of, and the WebSocket that it gets everything from."""
    html = (_FILES / "index.html").read_text(encoding="utf-8")
    line = "" if notice is None else f'<p id="notice" role="note">{escape(notice)}</p>'
    html = html.replace("<!-- notice -->", line)

    async def page(request: Request) -> Response:
        if not may_enter(request, token):
            return PlainTextResponse(_REFUSAL, status_code=403, headers=_HEADERS)
        return HTMLResponse(html, headers=_HEADERS)

    async def part(request: Request) -> Response:
        return FileResponse(_FILES / request.url.path.rpartition("/")[2], headers=_HEADERS)

    async def live(websocket: WebSocket) -> None:
        if not may_enter(websocket, token):
            return await websocket.close()
        await websocket.accept()
        viewer = Viewer(websocket, broadcast)
        with broadcast.joined(viewer):
            await viewer.serve()
        return None

    parts = (path.name for path in _FILES.iterdir() if path.name != "index.html")
    return Starlette(
        routes=[
            Route("/", page),
            WebSocketRoute("/live", live),
            *(Route(f"/{name}", part) for name in parts),
        ]
    )
