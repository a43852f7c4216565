"""Pythons of our own, for what must not be done in this one."""

import os
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def child_environment() -> dict[str, str]:
    """The environment of a child that imports what this process does.

    Python's options ``-c`` and ``-m`` import from the working directory first, where a ``json.py``
    may lie, say; from Python 3.11 on a variable switches that off. A checkout that is not installed
    is imported from there.
    """
    here = Path.cwd() == _ROOT
    return dict(os.environ) | ({} if here else {"PYTHONSAFEPATH": "1"})
