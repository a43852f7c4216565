"""The declared minimum versions as pip requirements: python tests/floors.py [EXTRA ...]."""

import re
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def requirements(*extras: str) -> list[str]:
    """What the plain install and ``extras`` require, as written in pyproject.toml."""
    project: dict[str, Any] = tomllib.loads(PYPROJECT.read_text())["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in extras for line in optional[extra])]


def floor(requirement: str) -> str:
    """``name==version`` of ``name>=version``."""
    found = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
    if found is None:
        raise SystemExit(f"{PYPROJECT.name} gives no least version in {requirement!r}.")
    return f"{found[1]}=={found[2]}"


if __name__ == "__main__":
    print("\n".join(map(floor, requirements(*sys.argv[1:]))))
