"""The look of the tables that commands print, and of what stands below them."""

from collections.abc import Mapping

from rich import box
from rich.markup import escape
from rich.table import Table


def plain_table(title: str) -> Table:
    """A table without columns yet: one rule under the head, none around.

    The title is text, not markup: a model's name may be in it.
    """
    return Table(
        title=f"\n{escape(title)}",
        title_justify="left",
        title_style="bold",
        header_style="",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )


def without_label(left_out: Mapping[str, int]) -> str:
    """Say which faces were not scored, by their emotion."""
    return f"Left out, as the model has no label for them: {faces_of(left_out)}."


def faces_of(counts: Mapping[str, int]) -> str:
    """``12 faces of contempt, 3 of awe``"""
    words = [f"{count:,} of {name}" for name, count in counts.items()]
    first, *rest = words
    number, _, name = first.partition(" of ")
    return ", ".join([f"{number} {'face' if number == '1' else 'faces'} of {name}", *rest])
