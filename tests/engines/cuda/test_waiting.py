"""Other threads run while the engine waits for the GPU, whatever cuda-bindings do."""

import json
import shutil
from pathlib import Path

import pytest

from .record_waiting import RECORDED, build_stub, measure

FREE = 50
"""Ticks in half a second, of 500 on an idle machine, that only a thread which runs can reach; one
that waits for the interpreter's lock reaches one."""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_installed_version(tmp_path: Path) -> None:
    pytest.importorskip("cuda.bindings.driver")
    build_stub(tmp_path)
    assert measure(tmp_path)["ticks_of_a_thread_in_half_a_second"]["fer-edge"] > FREE


def test_versions_on_record() -> None:
    """Made by record_waiting.py with the wheels of the versions that the extras allow."""
    recorded = json.loads(RECORDED.read_text())
    ticks = {
        version: found["ticks_of_a_thread_in_half_a_second"] for version, found in recorded.items()
    }
    held = [version for version, count in ticks.items() if count["cuda-bindings"] <= FREE]
    assert {"12.8.0", "12.9.0"} == set(held)
    assert all(count["fer-edge"] > FREE for count in ticks.values())
    assert {version.split(".")[0] for version in ticks} == {"12", "13"}
