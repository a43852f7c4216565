"""What all commands share: errors in one line, progress bars, JSON."""

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

from fer_edge.errors import FerEdgeError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


@functools.cache
def stderr() -> "Console":
    """Everything that is not the result: errors and progress."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, highlight=False)


@contextmanager
def reported() -> Iterator[None]:
    """Turn what a person can cause into one line on stderr; exit code 2 for usage, else 1."""
    try:
        yield
        # A reader that has gone or a full disk shows here, rather than when Python exits.
        sys.stdout.flush()
    except FerEdgeError as error:
        fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        fail("Interrupted; nothing half-written is left.", 1)
    except MemoryError:
        fail("Out of memory. Choose a smaller --batch.", 1)
    except BrokenPipeError:
        # The reader of a pipe, such as head, has seen enough.
        _drop_output()
        raise SystemExit(1) from None
    except OSError as error:
        reason = error.strerror or error
        if error.filename is not None:
            fail(
                f"Cannot access {error.filename}: {reason}. Check the path and its permissions.", 1
            )
        _drop_output()
        fail(f"Cannot write the output: {reason}. Free some space.", 1)


def fail(message: str, code: int) -> NoReturn:
    """Exit with one line on stderr."""
    from rich.text import Text

    line = " ".join(message.split())
    stderr().print(Text.assemble(("error:", "bold red"), " ", line))
    raise SystemExit(code) from None


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


def _bars(quiet: bool) -> "Progress":
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=stderr(),
        disable=quiet or not stderr().is_terminal,
    )


def _drop_output() -> None:
    """Send what is still buffered nowhere: Python would try it again on exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
