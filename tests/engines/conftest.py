import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fer_edge.engines.base import Faces
from fer_edge.engines.cuda import device as cuda_device
from fer_edge.engines.cuda import driver as cuda_driver
from fer_edge.engines.tensorrt import module
from fer_edge.files import CACHE_VARIABLE

from .cuda.fakes import PACKAGES, FakeGpu, fake_waiting
from .fakes import FakeTensorRT
from .simulated_builder import BuildingTensorRT


@pytest.fixture
def faces() -> Callable[[int], Faces]:
    rng = np.random.default_rng(7)

    def make(n: int) -> Faces:
        return rng.integers(0, 256, (n, 1, 48, 48), dtype=np.uint8)

    return make


@pytest.fixture
def package() -> str:
    """Through which the driver is called; tests of the device layer run with both."""
    return "cuda.bindings"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, package: str) -> Iterator[FakeGpu]:
    """A machine whose only GPU is a fake, which no test may leave with contexts pushed."""
    fake = FakeGpu()
    bindings = PACKAGES[package](fake)
    monkeypatch.setenv(cuda_driver.VARIABLE, package)
    monkeypatch.setitem(sys.modules, f"{package}.driver", bindings)
    monkeypatch.setattr(cuda_driver, "load_waiting", lambda: fake_waiting(bindings))
    caches = cuda_driver._start, cuda_device._primary_context
    for cache in caches:
        cache.cache_clear()
    yield fake
    for cache in caches:
        cache.cache_clear()
    assert fake.pushed == 0


@pytest.fixture
def fake_tensorrt(
    monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu, tmp_path: Path
) -> Iterator[FakeTensorRT]:
    """A machine with TensorRT and TensorRT-RTX 10.3.0 and the GPU of ``gpu``."""
    yield from _install(FakeTensorRT(gpu), monkeypatch, tmp_path)


@pytest.fixture
def building_tensorrt(
    monkeypatch: pytest.MonkeyPatch, gpu: FakeGpu, tmp_path: Path
) -> Iterator[BuildingTensorRT]:
    """The same, with a builder."""
    yield from _install(BuildingTensorRT(gpu), monkeypatch, tmp_path)


def _install(
    fake: FakeTensorRT, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[FakeTensorRT]:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake)
    module._log_of.cache_clear()
    yield fake
    module._log_of.cache_clear()
