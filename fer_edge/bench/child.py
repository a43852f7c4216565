"""What processes of the bench are started with."""

import os
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """This process's, and no modules from the working directory, where a json.py may lie.

    From Python 3.11 on; ``python -m`` of older ones cannot be told. In a checkout that is not
    installed the package itself is found in the working directory.
    """
    safe = {} if Path.cwd() == _ROOT else {"PYTHONSAFEPATH": "1"}
    return {**os.environ, **safe}
