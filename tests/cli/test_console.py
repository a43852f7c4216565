import errno
import io

import pytest

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


def test_progress_stays_out_of_files(capsys: pytest.CaptureFixture[str]) -> None:
    with staged_progress() as tell:
        tell("Reading", 0.5)
    assert capsys.readouterr() == ("", "")


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
