"""Where a server of this package listens: this machine alone, or others, too."""

import errno
import ipaddress
import socket
from urllib.parse import urlencode

from fer_edge.errors import FerEdgeError


def is_local(host: str) -> bool:
    """Whether an address to listen on lets in this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int, who: str, error: type[FerEdgeError]) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises
    ------
    error
        The port is taken, or the host is not an address of this machine; ``who`` cannot listen.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address[:2], family=family)
        # Goes over to every connection. asyncio sets it only on sockets that were made by the
        # protocol's number; without it the second write of an answer waits 40 ms for the
        # acknowledgement of the first.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, UnicodeError) as cause:  # the latter of a name that no host can have: ..
        if getattr(cause, "errno", None) == errno.EADDRINUSE:
            raise error(
                f"Port {port} is taken by another program.",
                hint="Give another one, or 0 for any that is free.",
            ) from cause
        reason = getattr(cause, "strerror", None) or "no host can have this name"
        raise error(
            f"{who} cannot listen on {host}, port {port}: {reason}.",
            hint="Give 127.0.0.1 for this machine alone or 0.0.0.0 for all; ports below 1024 are "
            "the administrator's.",
        ) from cause


def address_of(listener: socket.socket, host: str, token: str | None = None) -> str:
    """What others type to reach a listener: ``http://host:port/``, the token within."""
    if ipaddress.ip_address(listener.getsockname()[0]).is_unspecified:
        host = _own_address(listener.family)
    host = f"[{host}]" if ":" in host else host
    query = "" if token is None else "?" + urlencode({"token": token})
    return f"http://{host}:{listener.getsockname()[1]}/{query}"


def _own_address(family: int) -> str:
    """Where other machines of the network find this one."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Addresses for documentation; connecting a datagram socket sends nothing.
            probe.connect(("192.0.2.1" if family == socket.AF_INET else "2001:db8::1", 9))
        except OSError:  # no network
            return socket.gethostname()
        return str(probe.getsockname()[0])
