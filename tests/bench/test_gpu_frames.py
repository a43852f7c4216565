"""The steps of bench/gpu.py that need engines of a detector and a classifier, simulated."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from fer_edge.detection import retinaface
from fer_edge.engines.tensorrt import TensorRTEngine
from fer_edge.runtime import recognizer as module
from tests.detection.graphs import SMALL
from tests.engines.conftest import fake_tensorrt, gpu, package  # noqa: F401
from tests.engines.tensorrt.test_network import artifact  # noqa: F401
from tests.runtime.test_frames_on_gpu import _both  # noqa: F401

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def frames(monkeypatch, artifact):  # noqa: F811
    monkeypatch.syspath_prepend(BENCH)
    steps = importlib.import_module("gpu_steps")
    monkeypatch.setattr(steps.frames, "BUCKET", SMALL)
    monkeypatch.setattr(steps.frames, "FACES", (1, 3))
    monkeypatch.setattr(steps.frames, "_detector", lambda _: artifact)
    yield steps.frames
    for name in [name for name in sys.modules if name.startswith("gpu_steps")]:
        del sys.modules[name]


def test_batches(frames, tmp_path):
    found = frames.batches(tmp_path, 0.01)
    assert found.keys() == {"fp16"}
    assert all(found["fp16"][number] > 0 for number in (1, 2, 4, 8))
    json.dumps(found)


def test_photos_on_the_gpu_and_by_the_processor(frames, fake_tensorrt, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / "classifier").mkdir()
    monkeypatch.setattr(
        module,
        "open_engine",
        lambda *_, **__: TensorRTEngine(b"faces", "tensorrt", precision="fp16"),
    )
    launches = []
    measured = frames._photos_a_second

    def noted(*arguments):
        before = len(fake_tensorrt.gpu.launched)
        rate = measured(*arguments)
        launches.append(len(fake_tensorrt.gpu.launched) - before)
        return rate

    monkeypatch.setattr(frames, "_photos_a_second", noted)
    before = retinaface.frames_on
    found = frames.once(tmp_path, 0.01)
    assert found.keys() == {"gpu", "processor"}
    assert all(rate > 0 for rates in found.values() for rate in rates.values())
    assert all(launches[:4])
    assert not any(launches[4:]), "the processor's way must not be the GPU's"
    assert retinaface.frames_on is before
