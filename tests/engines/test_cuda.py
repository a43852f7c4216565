import gc
import sys

import numpy as np
import pytest

from fer_edge.engines import cuda
from fer_edge.errors import BackendUnavailableError, EngineError

from .fakes import FakeCuda, FakeError


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FakeError(100, "cudaErrorNoDevice"), "no NVIDIA GPU.*nvidia-smi"),
        (FakeError(46, "cudaErrorDevicesUnavailable"), "in use by another process"),
        (FakeError(35, "cudaErrorInsufficientDriver"), "too old: it supports CUDA 12.4.*==12"),
    ],
)
def test_no_usable_gpu_in_plain_words(fake_cuda: FakeCuda, error: FakeError, message: str) -> None:
    fake_cuda.driver = 12040
    fake_cuda.errors["cudaGetDeviceCount"] = error
    with pytest.raises(BackendUnavailableError, match=message):
        cuda.require_cuda()
    available, reason = cuda.cuda_available()
    assert not available
    assert "cudaError" not in reason


def test_no_driver_as_cuda_bindings_13_reports_it(fake_cuda: FakeCuda) -> None:
    fake_cuda.driver = 0
    fake_cuda.errors["cudaGetDeviceCount"] = FakeError(35, "cudaErrorInsufficientDriver")
    with pytest.raises(BackendUnavailableError, match=r"has no NVIDIA driver.*onnxruntime-cpu"):
        cuda.require_cuda()


@pytest.mark.parametrize(
    "message", ["Failed to dlopen libcuda.so.1", 'Function "cuInit" not found']
)
def test_no_driver_as_cuda_bindings_12_reports_it(message: str) -> None:
    def function() -> tuple:
        raise RuntimeError(message)

    with pytest.raises(BackendUnavailableError, match="has no NVIDIA driver"):
        cuda.call(function)


def test_no_cuda_bindings_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'fer-edge\[rtx\]'"):
        cuda.require_cuda()


def test_out_of_memory_and_unknown_errors(fake_cuda: FakeCuda) -> None:
    fake_cuda.fail_after = 0
    with pytest.raises(EngineError, match=r"out of memory.*smaller --batch"):
        cuda.DeviceBuffer(16)
    fake_cuda.errors["cudaSetDevice"] = FakeError(700, "cudaErrorIllegalAddress")
    with pytest.raises(
        EngineError, match="cudaErrorIllegalAddress: text of cudaErrorIllegalAddress"
    ):
        cuda.use_device(0)


@pytest.mark.usefixtures("fake_cuda")
def test_device_is_described() -> None:
    assert cuda.device_name() == "Fake GPU"
    assert cuda.compute_capability() == (8, 7)
    assert cuda.cuda_available() == (True, "")


@pytest.mark.usefixtures("fake_cuda")
def test_copies_go_to_the_gpu_and_back() -> None:
    stream = cuda.Stream()
    host = cuda.PinnedBuffer((3, 4), np.float32)
    device = cuda.DeviceBuffer(host.array.nbytes)
    host.array[:] = np.arange(12).reshape(3, 4)
    stream.upload(host.array[:2], device)
    stream.synchronize()
    host.array[:] = -1
    stream.download(device, host.array[:2])
    assert host.array[0, 0] == -1, "a copy must wait for its turn on the stream"
    stream.synchronize()
    assert host.array.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [-1] * 4]


def test_memory_is_freed_once_by_hand_or_by_the_collector(fake_cuda: FakeCuda) -> None:
    kept = [cuda.DeviceBuffer(8), cuda.PinnedBuffer((8,), "uint8"), cuda.Stream()]
    assert len(fake_cuda.live) == 3
    kept[0].free()
    kept[0].free()
    assert len(fake_cuda.live) == 2
    kept.clear()
    gc.collect()
    assert not fake_cuda.live


def test_names_are_those_of_cuda_bindings() -> None:
    rt = pytest.importorskip("cuda.bindings.runtime")
    used = [name for name in vars(FakeCuda) if name.startswith("cuda")]
    assert len(used) > 10
    assert [name for name in used if not hasattr(rt, name)] == []


@pytest.mark.gpu
@pytest.mark.skipif(not cuda.cuda_available()[0], reason=cuda.cuda_available()[1])
def test_copies_on_a_real_gpu() -> None:
    stream = cuda.Stream()
    host = cuda.PinnedBuffer((1000,), np.uint8)
    device = cuda.DeviceBuffer(1000)
    host.array[:] = np.arange(1000) % 251
    stream.upload(host.array, device)
    stream.synchronize()
    host.array[:] = 0
    stream.download(device, host.array)
    stream.synchronize()
    assert (host.array == np.arange(1000) % 251).all()
