from pathlib import Path

import pytest

from .conftest import Command


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "FACE"),
        ("evaluate", "--data", "CSV"),
        ("bench",),
        ("export",),
        ("camera", "FILM", "--headless"),
        ("analyze", "FILM", "--out", "a.csv"),
    ],
    ids=lambda command: command[0],
)
def test_every_command_that_opens_an_engine_takes_a_device(
    fer_edge: Command, face: Path, csv: Path, film: Path, command: tuple[str, ...]
) -> None:
    places = {"FACE": face, "CSV": csv, "FILM": film}
    line = [places.get(word, word) for word in command]
    error = fer_edge(*line, "--device", "cuda:x").error(2)
    assert error == "Unknown device 'cuda:x'. Take auto, cpu, cuda or cuda:1."


def test_a_gpu_that_is_not_there_is_an_error(
    fer_edge: Command, face: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    error = fer_edge("predict", face, "--device", "cuda:7").error()
    assert "CUDA" in error or "NVIDIA" in error


def test_the_cpu(fer_edge: Command, face: Path) -> None:
    assert fer_edge("predict", face, "--device", "cpu").code == 0
    error = fer_edge("predict", face, "--device", "cpu", "--backend", "tensorrt").error(2)
    assert "The backend tensorrt does not run on cpu." in error
