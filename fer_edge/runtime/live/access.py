"""Who may look at the page."""

import secrets
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}


def may_look(connection: HTTPConnection, token: str | None) -> bool:
    """Whether a request or WebSocket shows the token or, where there is none, is from a local page.

    Without a token, any website that someone on this machine visits could reach the server. So its
    name must be a local one (against DNS rebinding), and a WebSocket must come from a page of the
    same origin (browsers let any page open one).
    """
    if token is not None:
        given = connection.query_params.get("token", "")
        return secrets.compare_digest(given.encode(), token.encode())
    host = connection.headers.get("host", "")
    origin = connection.headers.get("origin")
    return _name(host) in _LOCAL_NAMES and (origin is None or urlsplit(origin).netloc == host)


def _name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
