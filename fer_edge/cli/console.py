"""What all commands share: errors in one line, progress, JSON."""

import functools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NoReturn, cast

import typer

from fer_edge.cli.streams import Messages, drop_output
from fer_edge.errors import FerEdgeError
from fer_edge.files import is_full

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

SECONDS_PER_LINE = 60.0
"""Between two lines of progress where no terminal shows bars."""


@functools.cache
def stderr() -> "Console":
    """Everything that is not the result: errors and progress."""
    from rich.console import Console

    return Console(file=cast(IO[str], Messages()), soft_wrap=True, highlight=False)


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
        drop_output()
        raise SystemExit(1) from None
    except OSError as error:
        reason = error.strerror or error
        if error.filename is not None:
            fail(
                f"Cannot access {error.filename}: {reason}. Check the path and its permissions.", 1
            )
        drop_output()
        advice = " Free some space." if is_full(error) else ""
        fail(f"Cannot write the output: {reason}.{advice}", 1)


def fail(message: str, code: int) -> NoReturn:
    """Exit with one line on stderr."""
    complain(message)
    raise SystemExit(code) from None


def complain(message: str) -> None:
    """One line on stderr of what went wrong, as of one item of many; the command goes on."""
    from rich.text import Text

    line = " ".join(message.split())
    stderr().print(Text.assemble(("error:", "bold red"), " ", line))


@contextmanager
def json_list() -> Iterator[Callable[[object], None]]:
    """A JSON list on stdout that grows by what the callable is given, each item as it comes.

    However the block ends, what stands there is whole; nothing, where it fails before an item.
    """
    begun = False

    def add(item: object) -> None:
        nonlocal begun
        text = json.dumps(item, indent=2).replace("\n", "\n  ")
        typer.echo(f"{',' if begun else '['}\n  {text}", nl=False)
        begun = True
        sys.stdout.flush()

    try:
        yield add
    except BaseException as error:
        if begun and not isinstance(error, OSError):
            typer.echo("\n]")
        raise
    typer.echo("\n]" if begun else "[]")


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(value, indent=2))


@contextmanager
def staged_progress(quiet: bool = False) -> Iterator[Callable[[str, float | None], None]]:
    """Show how far the stages of a command are: bars in a terminal, a line a minute elsewhere.

    The callable takes a stage's name and how much of it is done, 0..1, or None where nobody knows.
    The last one named is the one that lines tell of.
    """
    if quiet:
        yield lambda _stage, _done: None
    elif not stderr().is_terminal:
        with _Lines() as lines:
            yield lines.tell
    else:
        with _bars() as bars:
            tasks: dict[str, TaskID] = {}

            def tell(stage: str, done: float | None) -> None:
                if stage not in tasks:
                    tasks[stage] = bars.add_task(stage, total=None if done is None else 1.0)
                bars.update(tasks[stage], completed=done or 0.0)

            yield tell


def counted(
    tell: Callable[[str, float | None], None], stage: str
) -> Callable[[int, int | None], None]:
    """The (done, total) callback that shows ``stage`` on a staged progress."""
    return lambda done, total: tell(stage, None if total is None else done / max(total, 1))


class _Lines:
    """A line now and then, also where a stage says nothing for long."""

    def __init__(self) -> None:
        self._stage: str | None = None
        self._done: float | None = None
        self._begun = self._since = time.monotonic()
        self._from = 0.0
        """How much of the stage had been done before ``_since``, as of a training that goes on."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="fer-edge progress", daemon=True)

    def __enter__(self) -> "_Lines":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    def tell(self, stage: str, done: float | None) -> None:
        if stage != self._stage:
            self._stage, self._since, self._from = stage, time.monotonic(), done or 0.0
        self._done = done

    def _work(self) -> None:
        while not self._ended.wait(SECONDS_PER_LINE):
            stderr().print(self._line(), markup=False)

    def _line(self) -> str:
        now = time.monotonic()
        facts = [] if self._done is None else [f"{100 * self._done:.1f} %"]
        facts.append(f"{_minutes(now - self._begun)} so far")
        gained = (self._done or 0.0) - self._from
        if self._done is not None and gained > 0 and self._done < 1:
            left = (now - self._since) * (1 - self._done) / gained
            facts.append(f"about {_minutes(left)} left")
        return f"{self._stage or 'Starting'}: {', '.join(facts)}"


def _minutes(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _bars() -> "Progress":
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
        # Results do not belong on stderr.
        redirect_stdout=False,
    )
