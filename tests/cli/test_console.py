import errno
import io
import time

import pytest

from fer_edge.cli import console
from fer_edge.cli.console import counted, print_json, reported, staged_progress
from fer_edge.errors import FerEdgeError, StorageError, UsageError


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("Bad.", hint="Do better."), 2, "Bad. Do better."),
        (StorageError("Full."), 1, "Full."),
        (FerEdgeError("Two\nlines  of [red]text[/]."), 1, "Two lines of [red]text[/]."),
        (KeyboardInterrupt(), 1, "Interrupted; nothing half-written is left."),
        (MemoryError(), 1, "Out of memory. Choose a smaller --batch."),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x/y"),
            1,
            "Cannot access /x/y: Permission denied. Check the path and its permissions.",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_person_can_cause_takes_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop, reported():
        raise error
    assert stop.value.code == code
    assert capsys.readouterr() == ("", f"error: {line}\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EIO, "Input/output error"), "Input/output error."),
        (OSError(errno.ENOSPC, "No space left"), "No space left. Free some space."),
    ],
)
def test_space_is_asked_for_only_where_there_is_none(
    error: OSError,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "drop_output", lambda: None)
    with pytest.raises(SystemExit), reported():
        raise error
    assert capsys.readouterr().err == f"error: Cannot write the output: {line}\n"


def test_a_long_line_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), reported():
        raise FerEdgeError("word " * 100)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), reported():
        _ = 1 / 0


def test_json_is_json_however_odd_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "\udcff \N{SNOWMAN}"})
    assert capsys.readouterr().out == '{\n  "name": "\\udcff \\u2603"\n}\n'


def test_a_quick_command_leaves_nothing_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with staged_progress() as tell:
        tell("Reading", 0.5)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "SECONDS_PER_LINE", 0.05)


def lines_of(capsys: pytest.CaptureFixture[str], count: int) -> list[str]:
    """The first lines on stderr; a minute is long enough on any machine."""
    lines: list[str] = []
    end = time.monotonic() + 60
    while len(lines) < count and time.monotonic() < end:
        time.sleep(0.01)
        out, err = capsys.readouterr()
        assert out == ""
        lines += err.splitlines()
    return lines


@pytest.mark.usefixtures("hurried")
def test_without_a_terminal_lines_tell_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with staged_progress() as tell:
        assert lines_of(capsys, 1)[0] == "Starting: 0 min so far"
        counted(tell, "Training")(1, 4)
        counted(tell, "Training")(2, 4)
        # Nothing more is told, as in a stage of one long step.
        last = lines_of(capsys, 3)[-1]
        assert last == "Training: 50.0 %, 0 min so far, about 0 min left"
        counted(tell, "Analyzing")(700, None)
        assert lines_of(capsys, 2)[-1] == "Analyzing: 0 min so far"
    capsys.readouterr()
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_what_is_left_counts_from_where_a_run_went_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lines = console._Lines()
    now += 600
    lines.tell("Training", 0.5)
    now += 3600
    lines.tell("Training", 0.75)
    assert lines._line() == "Training: 75.0 %, 1 h 10 min so far, about 1 h 0 min left"


@pytest.mark.usefixtures("hurried")
def test_quiet_is_quiet_in_a_log_too(capsys: pytest.CaptureFixture[str]) -> None:
    with staged_progress(quiet=True) as tell:
        tell("Reading", 0.5)
        time.sleep(0.2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("hurried")
def test_what_fails_ends_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), staged_progress():
        _ = 1 / 0
    capsys.readouterr()
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_progress_of_a_terminal_names_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with staged_progress() as tell:
        tell("Reading", 0.5)
        counted(tell, "Training")(3, 4)
    assert "Reading" in screen.getvalue()
    assert "75%" in screen.getvalue()


def test_nothing_to_do_is_no_division_by_zero() -> None:
    told = []
    counted(lambda *what: told.append(what), "Reading")(0, 0)
    assert told == [("Reading", 0.0)]
