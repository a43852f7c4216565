"""The fixtures of services, where what they need is installed."""

import contextlib

import pytest

# Otherwise each module of tests is skipped, and says why.
with contextlib.suppress(pytest.skip.Exception):
    from .services import client, serve

__all__ = ["client", "serve"]
