"""Artifacts that the package carries: one folder each, beside this file."""

from pathlib import Path

from fer_edge.errors import ModelError
from fer_edge.sealed import MANIFEST

FOLDER = Path(__file__).parent


def carried_model(name: str = "compact") -> Path:
    """Folder of the carried artifact ``name``.

    Raises
    ------
    ModelError
        The package carries no such model.
    """
    have = sorted(path.parent.name for path in FOLDER.glob(f"*/{MANIFEST}"))
    if name not in have:
        raise ModelError(
            f"This fer-edge carries no model {name!r} (it carries: {', '.join(have) or 'none'}).",
            hint="Name the folder of an exported model instead.",
        )
    return FOLDER / name
