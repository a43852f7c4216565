"""Who may use what this package serves: the live page, the service."""

import functools
import secrets
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
_BEARER = "bearer "


def may_enter(connection: HTTPConnection, token: str | None) -> bool:
    """Whether a request or WebSocket shows the token or, where there is none, is from a local page.

    A token is shown as ``?token=`` or as ``Authorization: Bearer``. Without one, any website that
    someone on this machine visits could reach the server. So its name must be a local one (against
    DNS rebinding), and what a page sends must come from one of the same origin (browsers let any
    page open a WebSocket).
    """
    if token is not None:
        given = connection.query_params.get("token", "")
        shown = connection.headers.get("authorization", "")
        if shown[: len(_BEARER)].lower() == _BEARER:
            given = shown[len(_BEARER) :].strip()
        return secrets.compare_digest(given.encode(), token.encode())
    host = connection.headers.get("host", "")
    origin = connection.headers.get("origin")
    return _name(host) in _LOCAL_NAMES and (origin is None or _host_of(origin) == host)


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # no page has such an origin
        return None


@functools.lru_cache(maxsize=64)
def _name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
