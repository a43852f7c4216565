"""What all commands share: errors in one line, progress bars, JSON."""

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from fer_edge.errors import FerEdgeError

P = ParamSpec("P")
R = TypeVar("R")

errors = Console(stderr=True, soft_wrap=True, highlight=False)
"""Everything that is not the result: errors and progress."""


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """Turn what a person can cause into one line on stderr; exit code 2 for usage, else 1."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except FerEdgeError as error:
            fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            fail("Interrupted; nothing half-written is left.", 1)
        except MemoryError:
            fail("Out of memory. Choose a smaller --batch.", 1)
        except BrokenPipeError:
            # The reader of a pipe, such as head, has seen enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None

    return run


def fail(message: str, code: int) -> NoReturn:
    errors.print(f"[bold red]error:[/] {escape(message)}")
    raise typer.Exit(code) from None


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(value, indent=2))


@contextmanager
def staged_progress(quiet: bool = False) -> Iterator[Callable[[str, float], None]]:
    """A bar per stage; the callable takes the stage's name and how much of it is done, 0..1."""
    with _bars(quiet) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=1.0)
            bars.update(tasks[stage], completed=done)

        yield tell


def counted(tell: Callable[[str, float], None], stage: str) -> Callable[[int, int], None]:
    """The (done, total) callback that shows ``stage`` on a staged progress."""
    return lambda done, total: tell(stage, done / max(total, 1))


def _bars(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=errors,
        disable=quiet or not errors.is_terminal,
    )
