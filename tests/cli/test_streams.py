import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge.cli import main
from fer_edge.cli.console import staged_progress, stderr
from fer_edge.cli.streams import open_streams

from .conftest import Command
from .test_app import RUN

Start = Callable[..., subprocess.Popen[str]]
CLOSED = {"stdout": [1], "stderr": [2], "both": [1, 2], "all": [0, 1, 2]}


@pytest.mark.skipif(sys.platform == "win32", reason="preexec_fn")
@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize("command", ["--version", "--help", "info", "predict", "doctor"])
def test_closed_streams_cost_nothing_but_what_would_stand_there(
    command: str, closed: str, python: Start, exported: Path, face: Path
) -> None:
    more: list[object] = {"info": [exported], "predict": [face, "--model", exported]}.get(
        command, []
    )

    def close() -> None:
        for number in CLOSED[closed]:
            os.close(number)

    process = python(RUN, command, *more, preexec_fn=close)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0
    assert err == ""
    assert (out == "") == (1 in CLOSED[closed])


@pytest.mark.skipif(sys.platform == "win32", reason="preexec_fn")
def test_no_file_gets_the_number_of_a_closed_stream(python: Start) -> None:
    script = """
import os, sys
from fer_edge.cli.streams import open_streams
open_streams()
print(min(os.dup(0), os.open(os.devnull, os.O_RDONLY)), file=open(sys.argv[1], "w"))
"""
    numbers = Path("numbers.txt")
    process = python(script, numbers, preexec_fn=lambda: os.closerange(0, 3))
    process.communicate(timeout=300)
    assert int(numbers.read_text()) > 2


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
@pytest.mark.parametrize("how", ["missing", "closed"])
def test_a_program_without_streams_can_run_commands(
    name: str, how: str, monkeypatch: pytest.MonkeyPatch, exported: Path
) -> None:
    stream = None if how == "missing" else io.StringIO()
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, name, stream)
    with pytest.raises(SystemExit) as stop:
        main(["info", str(exported)])
    assert not stop.value.code


class _Broken(io.StringIO):
    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def write(self, _: str) -> int:
        raise OSError(self._number, os.strerror(self._number))

    def flush(self) -> None:
        raise OSError(self._number, os.strerror(self._number))


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EBADF])
def test_messages_that_nobody_can_read_do_not_end_the_work(
    number: int, monkeypatch: pytest.MonkeyPatch, fer_edge: Command
) -> None:
    monkeypatch.setattr(sys, "stderr", _Broken(number))
    with staged_progress() as tell:
        stderr().print("epoch 1")
        tell("Training", 0.5)
    # Nor do they change what a command that fails ends with.
    assert fer_edge("info", "nowhere").code == 1
    assert fer_edge("infoo").code == 2


def test_a_terminal_that_goes_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Broken(errno.EIO)
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with staged_progress() as tell:
        tell("Reading", 0.5)


def test_streams_that_work_are_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdin, sys.stdout, sys.stderr
    open_streams()
    assert (sys.stdin, sys.stdout, sys.stderr) == before
    print("out")
    assert capsys.readouterr().out == "out\n"
