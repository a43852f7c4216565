"""The look of the tables that commands print."""

from rich import box
from rich.table import Table


def plain_table(title: str) -> Table:
    """A table without columns yet: one rule under the head, none around."""
    return Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        header_style="",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
