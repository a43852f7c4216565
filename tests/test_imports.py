"""No module of the package needs one that needs it."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1] / "fer_edge"


def modules(root: Path) -> dict[str, Path]:
    """Every module of a package by its name, packages as their __init__.py."""
    return {
        ".".join([root.name, *path.relative_to(root).with_suffix("").parts]).removesuffix(
            ".__init__"
        ): path
        for path in root.rglob("*.py")
    }


def imported(path: Path, known: set[str]) -> Iterator[str]:
    """Modules of ``known`` that a file imports, inside functions and for types alone, too."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else node.module for name in inner]
        yield from (name for name in names if name in known)


def circle(root: Path) -> list[str]:
    """Modules that import each other in a circle; empty if none do."""
    files = modules(root)
    needs = {name: {*imported(path, {*files})} - {name} for name, path in files.items()}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_there_is_no_circle() -> None:
    assert len(modules(ROOT)) > 200
    assert circle(ROOT) == []


def test_a_circle_is_found_wherever_the_import_is(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from package.b import f\n")
    (package / "b.py").write_text("def f():\n    from package import c\n    return c\n")
    (package / "c.py").write_text("import sys\n")
    assert circle(package) == []
    (package / "c.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from package.a import f\n"
    )
    assert set(circle(package)) == {"package.a", "package.b", "package.c"}
