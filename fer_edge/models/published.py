"""Trained models by name: artifacts that this package carries, and those of others installed."""

from importlib.metadata import EntryPoint, entry_points, version
from importlib.metadata import metadata as package_metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from fer_edge.errors import ModelError
from fer_edge.models import carried
from fer_edge.sealed import MANIFEST

DEFAULT = "compact"
GROUP = "fer_edge.artifacts"
"""Entry points of this group are artifacts of other packages: name to the module that lies beside
``manifest.json``. The module is found, not run."""
_OWN = "fer-edge"


class Published(NamedTuple):
    """A trained model that is installed."""

    name: str
    folder: Path
    package: str
    """What to name in ``pip``."""
    version: str
    license: str
    """Of that package; ``"not stated"`` where it does not say."""


def published_models() -> dict[str, Published]:
    """Every trained model that is installed, by name; this package's own come first.

    A package whose artifact is not where it says is left out.
    """
    own = {
        path.parent.name: Published(path.parent.name, path.parent, *_package(_OWN))
        for path in sorted(carried.FOLDER.glob(f"*/{MANIFEST}"))
    }
    others = {}
    for point in entry_points(group=GROUP):
        folder = _folder(point)
        if point.name not in own and folder is not None and point.dist is not None:
            others[point.name] = Published(point.name, folder, *_package(point.dist.name))
    return own | others


def find_model(model: str | Path | None = None, *, other: str = "an ONNX file") -> Path:
    """Where a model lies that a user names.

    Parameters
    ----------
    model : str or Path, optional
        What exists is taken as it is; else a name of :func:`published_models`. None for
        :data:`DEFAULT`.
    other : str
        What else than an artifact is taken there, for the error's advice.

    Raises
    ------
    ModelError
        It is a bare name, and neither there nor published.
    """
    path = Path(DEFAULT if model is None else model)
    if model is not None and (path.exists() or path.name != str(model) or path.suffix):
        # Whoever opens a path says what is wrong with it.
        return path
    # Carried ones come first, and nobody waits for a look at every package that is installed.
    if (carried.FOLDER / path / MANIFEST).is_file():
        return carried.FOLDER / path
    published = published_models()
    if str(path) in published:
        return published[str(path)].folder
    raise ModelError(
        f"There is no model {str(path)!r}, neither here nor among the published models: "
        f"{', '.join(published) or 'none'}.",
        hint=f"Name one of these, the folder of an exported model, or {other}.",
    )


def _folder(point: EntryPoint) -> Path | None:
    try:
        spec = find_spec(point.module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    return folder if (folder / MANIFEST).is_file() else None


def _package(name: str) -> tuple[str, str, str]:
    told = package_metadata(name)
    # Older build backends write License alone.
    licenses = [told[key] for key in ("License-Expression", "License") if key in told]
    return name, version(name), licenses[0] if licenses else "not stated"
