import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge.version import __version__

from .conftest import Command

COMMANDS = (
    "train",
    "export",
    "bench",
    "evaluate",
    "predict",
    "camera",
    "analyze",
    "serve",
    "info",
    "doctor",
)
RUN = "from fer_edge.cli import main; import sys; main(sys.argv[1:])"
IMPORTED = """
import sys
from fer_edge.cli import main
try:
    main(sys.argv[1:])
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


def imported(process: subprocess.Popen[str]) -> set[str]:
    """Packages that a command had imported when it ended."""
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0
    return {module.partition(".")[0] for module in err.split()}


def test_help_lists_every_command(fer_edge: Command) -> None:
    result = fer_edge("--help")
    assert result.code == 0
    assert result.err == ""
    for command in COMMANDS:
        assert f"│ {command} " in result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_teaches_by_example(command: str, fer_edge: Command) -> None:
    result = fer_edge(command, "-h")
    assert result.code == 0
    assert "Example" in result.out
    example = next(line for line in result.out.splitlines() if f" fer-edge {command}" in line[:20])
    assert "Usage" not in example
    assert max(map(len, result.out.splitlines())) <= 80


def test_without_a_command_the_help_is_shown(fer_edge: Command) -> None:
    result = fer_edge()
    assert result.code == 2
    assert "Usage: fer-edge" in result.out
    assert result.err == ""


def test_version(fer_edge: Command) -> None:
    assert fer_edge("--version").out == f"fer-edge {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["predikt"], "No such command 'predikt'"),
        (["predict"], "missing argument 'images"),
        (["predict", "x.png", "--presision", "int8"], "No such option: --presision"),
        (["predict", "x.png", "--threads", "0"], "'--threads'"),
        (["predict", "x.png", "--threads", "many"], "'--threads'"),
        (["bench", "--seconds", "0"], "'--seconds'"),
        (["info", "a", "b"], "unexpected extra argument"),
        (["export", "--samples", "0"], "'--samples'"),
        (["train", "--epochs"], "'--epochs' requires an argument"),
    ],
)
def test_usage_errors_take_one_line(arguments: list[str], says: str, fer_edge: Command) -> None:
    error = fer_edge(*arguments).error(2)
    # Versions of typer write arguments in small or in capital letters.
    assert says.lower() in error.lower()
    assert "--help" in error


def test_help_imports_neither_numpy_nor_what_is_heavier(
    python: Callable[..., subprocess.Popen[str]],
) -> None:
    packages = imported(python(IMPORTED, "--help"))
    assert "typer" in packages
    assert not packages & {"numpy", "onnxruntime", "pydantic", "PIL", "onnx", "torch"}


def test_predict_imports_neither_torch_nor_onnx(
    python: Callable[..., subprocess.Popen[str]], exported: Path, face: Path
) -> None:
    packages = imported(python(IMPORTED, "predict", face, "--model", exported))
    assert "onnxruntime" in packages
    assert not packages & {"torch", "torchvision", "onnx", "safetensors", "matplotlib"}


@pytest.mark.parametrize("command", [["info"], ["info", "--json"], ["--help"]])
def test_a_closed_pipe_is_no_error(
    command: list[str], python: Callable[..., subprocess.Popen[str]], exported: Path
) -> None:
    read, write = os.pipe()
    os.close(read)
    model = [exported] if command[0] == "info" else []
    process = python(RUN, *command, *model, stdout=write)
    os.close(write)
    assert process.communicate(timeout=300)[1] == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
@pytest.mark.parametrize("command", [["info"], ["info", "--json"], ["--help"]])
def test_output_on_a_full_disk_takes_one_line(
    command: list[str], python: Callable[..., subprocess.Popen[str]], exported: Path
) -> None:
    model = [exported] if command[0] == "info" else []
    with Path("/dev/full").open("w") as full:
        process = python(RUN, *command, *model, stdout=full)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert err == ("error: Cannot write the output: No space left on device. Free some space.\n")


def test_a_terminal_without_unicode_gets_what_it_can_show(
    python: Callable[..., subprocess.Popen[str]],
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    process = python(RUN, "info", exported)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    assert " ? " in out
