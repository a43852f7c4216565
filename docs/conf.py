"""The documentation: make docs."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import pages  # noqa: E402

import fer_edge  # noqa: E402

project = html_title = "FER-Edge"
author = "The FER-Edge developers"
release = version = fer_edge.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
myst_heading_anchors = 4
napoleon_google_docstring = False
autodoc_typehints = "description"
autodoc_member_order = "bysource"
# Blocks without a language are what a terminal shows.
highlight_language = "text"
# GStreamer's pipelines have no lexer.
suppress_warnings = ["misc.highlighting_failure"]


def _repository_links(_app: object, page: str, source: list[str]) -> None:
    """Links of pages to files of the repository."""
    source[0] = pages.linked(source[0], f"docs/{page}.md", f"{page}.md")


def setup(app: object) -> None:
    app.connect("builder-inited", lambda _app: pages.write_pages())  # type: ignore[attr-defined]
    app.connect("source-read", _repository_links)  # type: ignore[attr-defined]
