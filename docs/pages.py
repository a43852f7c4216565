"""Pages that are made: of files of the repository, of --help, of manifests."""

import json
import posixpath
import re
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer_edge.training.declaration import Declared

ROOT = Path(__file__).resolve().parent.parent
COPIED = {
    "bench/README.md": "explanation/results.md",
    "examples/jetson.md": "how-to/jetson.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
"""File of the repository to page."""
_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_LINK = re.compile(r"(?P<image>!?)\[(?P<label>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def linked(text: str, home: str, page: str) -> str:
    """``text`` of the file ``home``, with its links as ``page`` needs them.

    A link to a file that is a page goes to the page, an image to the image, and any other file of
    the repository is named, as the site does not know where the repository is to be read.
    """

    def one(match: re.Match[str]) -> str:
        target, _, anchor = match["target"].partition("#")
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(home), target))
        page_of = COPIED.get(path)
        if page_of is None and path.startswith("docs/"):
            page_of = path.removeprefix("docs/")
        here = posixpath.dirname(page)
        if page_of is not None:
            place = posixpath.relpath(page_of, here or ".")
            return f"[{match['label']}]({place}{'#' + anchor if anchor else ''})"
        if match["image"]:
            return f"![{match['label']}]({posixpath.relpath(f'../{path}', here or '.')})"
        if not (ROOT / path).exists():
            raise ValueError(f"{home} links to {target}, which is not there")
        label = match["label"]
        return f"`{path}`" if path.endswith(label) else f"{label} (`{path}`)"

    return _LINK.sub(one, text)


def write_pages() -> None:
    """Write every made page that is not there or has changed."""
    for source, page in COPIED.items():
        _write(page, linked((ROOT / source).read_text(), source, page))
    _write("reference/commands.md", _commands())
    _write("reference/cards.md", _cards())
    _write("reference/training.md", _training())


def _write(page: str, text: str) -> None:
    target = ROOT / "docs" / page
    target.parent.mkdir(exist_ok=True)
    if not target.exists() or target.read_text() != text:
        target.write_text(text)


def _commands() -> str:
    """The command line, from what --help says."""
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from fer_edge.cli.app import app

    command = get_command(app)
    context = command.make_context("fer-edge", [], resilient_parsing=True)
    return get_docs_for_click(obj=command, ctx=context, name="fer-edge")


def _training() -> str:
    """The options of a training, from their declaration."""
    from fer_edge.training.recipe import TABLES

    lines = [
        "# Options of a training",
        "",
        "Keys of a recipe (`fer-edge train --recipe`), which is a TOML file of these tables, and "
        "the options of `fer-edge train` that set the same and come first. Beside the tables a "
        "recipe has `title`, `description` and `source`.",
    ]
    for table, options in TABLES.items():
        lines += [
            "",
            f"## [{table}]",
            "",
            "| key | option | values | default | |",
            "| --- | --- | --- | --- | --- |",
        ]
        for key, option in options.items():
            flag = "" if table == "svm" else f"`{option.flag}`"
            kind = "path" if option.path else _KINDS[option.kind]
            kind = f"list of {kind}s" if option.many else kind
            values = option.values if option.kind is str and option.values else kind
            if option.values and option.kind is not str:
                values += f", {option.values}"
            cells = (f"`{key}`", flag, values, _default(option), option.option.help)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _default(option: "Declared") -> str:
    if option.option.unset:
        return option.option.unset
    if option.default is MISSING:
        return "must be given"
    if option.default in (None, ()):
        return "none"
    return f"`{json.dumps(option.default)}`"


def _cards() -> str:
    """The cards of the models that this package carries, each under the name it goes by."""
    from fer_edge.artifact import Artifact
    from fer_edge.evaluation.card import model_card
    from fer_edge.models import carried
    from fer_edge.models.published import published_models

    pages = ["# Model cards\n\n`fer-edge info NAME --card` prints one.\n"]
    for model in published_models().values():
        if model.folder.parent == carried.FOLDER:
            _, _, body = model_card(Artifact.load(model.folder)).partition("\n")
            headed = re.sub(r"^#", "##", body, flags=re.MULTILINE)
            pages.append(f"## {model.name}\n{headed}")
    return "\n".join(pages)
