from collections.abc import Callable

import numpy as np
import pytest

from fer_edge.engines import cuda
from fer_edge.engines.base import Faces
from fer_edge.engines.tensorrt import module

from .fakes import FakeCuda, FakeTensorRT


@pytest.fixture
def faces() -> Callable[[int], Faces]:
    rng = np.random.default_rng(7)

    def make(n: int) -> Faces:
        return rng.integers(0, 256, (n, 1, 48, 48), dtype=np.uint8)

    return make


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(cuda, "runtime", lambda: fake)
    return fake


@pytest.fixture
def fake_tensorrt(monkeypatch: pytest.MonkeyPatch, fake_cuda: FakeCuda) -> FakeTensorRT:
    """A machine with TensorRT 10.3.0 and the GPU of ``fake_cuda``."""
    fake = FakeTensorRT(fake_cuda)
    monkeypatch.setattr(module.importlib, "import_module", lambda _: fake)
    module.log_of.cache_clear()
    yield fake
    module.log_of.cache_clear()
