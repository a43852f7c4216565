"""Commands, options and extras that the package and its documents name are there."""

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from fer_edge.cli.app import app
from fer_edge.engines.tensorrt.module import _EXTRAS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
COMMANDS = typer.main.get_command(app).commands
OPTIONS = {
    name: {
        option
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    | {"-h", "--help", "--version"}
    for name, command in COMMANDS.items()
}
FOREIGN = {
    *("--force-reinstall", "--no-deps", "--system-site-packages", "--index-url"),  # pip, venv
    "--nproc-per-node",  # torchrun
    *("--query-gpu", "--format"),  # nvidia-smi
    "--preload",  # gunicorn
    "--upgrade",  # pip
    *("--keras", "--saved-model", "--tflite"),  # tf2onnx
}
PLACE = "PLACE"
"""Stands for what an f-string fills in."""


def texts(path: Path) -> Iterator[str]:
    """String literals of a module, f-strings as one."""
    parts: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if node in parts:
            continue
        if isinstance(node, ast.JoinedStr):
            parts.update(node.values)
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else PLACE for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


PACKAGE = sorted(
    {text for path in (ROOT / "fer_edge").rglob("*.py") for text in texts(path) if "-" in text}
)
# Pages that are made of other files are known to git by their names alone.
MADE = set((ROOT / "docs/.gitignore").read_text().split())
FILES = [
    *sorted(ROOT.glob("*.md")),
    ROOT / "bench/README.md",
    *sorted((ROOT / "examples").glob("*.md")),
    *(
        path
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if path.relative_to(ROOT / "docs").as_posix() not in MADE
    ),
]
DOCUMENTS = [path.read_text() for path in FILES]


def parse(line: str) -> None:
    """Raise what the command line would complain of."""
    name, *arguments = shlex.split(line.split(" > ")[0].split(" | ")[0], comments=True)[1:]
    COMMANDS[name].make_context(name, arguments)


def lines() -> Iterator[str]:
    """Whole command lines: in documents, in examples of --help, at the end of hints."""
    for text in DOCUMENTS:
        yield from re.findall(r"^(?:\$ )?(fer-edge \w.*)$", text, re.MULTILINE)
    for text in PACKAGE:
        yield from re.findall(r"^ +(fer-edge \w.*)$", text, re.MULTILINE)
        yield from re.findall(r"(?:with|Next|try|Run): (fer-edge \w[^()]*?)\.?$", text)


@pytest.mark.parametrize("line", sorted(set(lines())))
def test_command_lines_are_understood(line: str) -> None:
    if "…" in line or " ... " in line or f"--{PLACE}" in line:
        pytest.skip("abridged")
    parse(line)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_to_files_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)", path.read_text())
    files = [target for target in targets if ":" not in target]
    # A page that is made has no file yet.
    missing = [
        target
        for target in files
        if not (path.parent / target).exists()
        and (path.parent / target).resolve().relative_to(ROOT / "docs").as_posix() not in MADE
    ]
    assert missing == []


def test_enough_lines_are_found() -> None:
    found = set(lines())
    assert len(found) > 40
    assert {line.split()[1] for line in found} >= set(OPTIONS) - {"inspect"}


def test_options_after_a_command_are_that_commands() -> None:
    wrong = [
        (name, option)
        for text in (*PACKAGE, *DOCUMENTS)
        for name, rest in re.findall(r"fer-edge (\w+)((?:(?!fer-edge |`|\n|\. ).)*)", text)
        if name in OPTIONS
        for option in re.findall(r"(?<!\S)--[a-z][\w-]*", rest)
        if option not in OPTIONS[name] | FOREIGN
    ]
    assert wrong == []


def test_every_option_that_is_named_exists() -> None:
    known = FOREIGN.union(*OPTIONS.values())
    named = {
        (option, text)
        for text in PACKAGE
        for option in re.findall(r"(?<![\w(-])--[a-z][a-z0-9-]*(?=[\s.,;)\]'\"]|$)", text)
    }
    assert len(named) > 50
    assert [one for one in sorted(named) if one[0] not in known] == []


def test_every_extra_that_is_named_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {
        extra
        for text in (*PACKAGE, *DOCUMENTS)
        for extras in re.findall(r"(?:fer-edge|'\.)\[([a-z0-9,-]+)\]", text)
        for extra in extras.split(",")
    }
    assert {"tensorrt", "rtx", "export"} <= named
    # What an old driver needs is put together of the backend's extra and -cu12.
    cuda_12 = {f"{extra}-cu12" for extra in _EXTRAS.values()}
    assert named | cuda_12 <= set(project["optional-dependencies"])
