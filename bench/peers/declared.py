"""What an adapter says of itself, in comments at its head (inline script metadata, PEP 723)."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MARKS = {".py": "#", ".mjs": "//"}
"""How a comment begins, by the file's ending."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """A file that runs one package."""

    path: Path
    dependencies: tuple[str, ...] | None
    """Of pip or npm, with versions; None: what this environment has."""
    package: str
    """Whose version is told."""
    licence: str
    detectors: dict[str, str]
    """Variants that find faces, and the method of each."""
    classifiers: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.stem.removesuffix("_adapter")

    @property
    def is_node(self) -> bool:
        return self.path.suffix == ".mjs"


@dataclass(frozen=True, eq=False)
class Entry:
    """One row of a table: what an adapter does with one of its variants."""

    adapter: Adapter
    task: str
    """``detect`` or ``classify``."""
    variant: str

    @property
    def name(self) -> str:
        return f"{self.adapter.package}, {self.variant}"


def read_adapters(folder: Path, only: list[str] | None = None) -> list[Adapter]:
    """All ``NAME_adapter.py`` and ``NAME_adapter.mjs`` of a folder, by name."""
    found = [read_adapter(path) for path in sorted(folder.glob("*_adapter.*"))]
    missing = set(only or ()) - {adapter.name for adapter in found}
    if missing:
        raise SystemExit(f"{folder} has no adapter of the name {', '.join(sorted(missing))}.")
    return [adapter for adapter in found if not only or adapter.name in only]


def read_adapter(path: Path) -> Adapter:
    told = tomllib.loads(_block(path))
    peer: dict[str, Any] = told["tool"]["peer"]
    dependencies = told.get("dependencies")
    return Adapter(
        path=path,
        dependencies=None if dependencies is None else tuple(dependencies),
        package=peer["package"],
        licence=peer["licence"],
        detectors=peer.get("detectors", {}),
        classifiers=tuple(peer.get("classifiers", ())),
    )


def entries(adapters: list[Adapter]) -> list[Entry]:
    """Detectors first."""
    detectors = [Entry(one, "detect", variant) for one in adapters for variant in one.detectors]
    return detectors + [
        Entry(one, "classify", variant) for one in adapters for variant in one.classifiers
    ]


def _block(path: Path) -> str:
    mark = MARKS[path.suffix]
    lines = path.read_text().splitlines()
    try:
        begin = lines.index(f"{mark} /// script")
        end = lines.index(f"{mark} ///", begin)
    except ValueError:
        raise SystemExit(f"{path} has no block of inline script metadata (PEP 723).") from None
    return "\n".join(line.removeprefix(mark).removeprefix(" ") for line in lines[begin + 1 : end])
