"""Network addresses: their parts, and what of them may be shown."""

import re
from urllib.parse import SplitResult, urlsplit

from fer_edge.errors import UsageError

_SECRETS = re.compile(
    r"((?:pass|passwd|password|pwd|pw|loginpas|secret|token|key|auth)=)([^&/\s]*)", re.I
)
"""In the path or the query of an address."""
_HOST = re.compile(r"(?:\[[^]@/]*\]|localhost|[^:@/?#]*\.[^:@/?#]*)(?::\d{1,5})?(?:[/?#]|$)", re.I)
"""A host, perhaps with its port, that is not a user and the beginning of a password."""
_PASSWORD = re.compile(r"\A([^:/?#]*):.*@", re.S)


def split_address(address: str) -> SplitResult:
    """The parts of an address.

    Raises
    ------
    UsageError
        It has none: a bracket without its pair, or a port that is no number.
    """
    try:
        parts = urlsplit(address)
        _ = parts.port  # looked at when it is asked for
    except ValueError:
        # Python's reason quotes the address, so it must not be the cause.
        raise UsageError(
            f"{without_password(address)} is no address.",
            hint="Give the port as a number, and special characters of a user or password by "
            "their codes: %5B for [, %2F for /, %23 for #, %3F for ?, %40 for @.",
        ) from None
    return parts


def without_password(address: str) -> str:
    """The address as it may be shown, also one that is wrong.

    A password may have characters that end a host, so it reaches to the last ``@``. Where that may
    be part of a path, rather too much is hidden: of ``rtsp://me:secret@host/a@b``, ``host/a``.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "", address
    # Of a secret with an @ one is kept until then: it may be what ends a password.
    rest = _SECRETS.sub(lambda found: f"{found[1]}***{'@' * ('@' in found[2])}", rest)
    if not _HOST.match(rest):
        rest = _PASSWORD.sub(r"\1@", rest)
    return scheme + separator + _SECRETS.sub(r"\1***", rest)
