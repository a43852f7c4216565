import gc
from concurrent.futures import ThreadPoolExecutor

import pytest

from fer_edge.engines import cuda
from fer_edge.errors import BackendUnavailableError, EngineError

from .fakes import FakeGpu

FOREIGN = 0xBAD
"""A context that another library made current."""


@pytest.mark.usefixtures("gpu")
def test_gpu_is_described() -> None:
    assert cuda.device_name() == "Fake GPU"
    assert cuda.compute_capability() == (8, 7)
    assert cuda.cuda_available() == (True, "")


def test_no_gpu(gpu: FakeGpu) -> None:
    gpu.count = 0
    with pytest.raises(BackendUnavailableError, match=r"no NVIDIA GPU.*onnxruntime-cpu"):
        cuda.require_cuda()
    with pytest.raises(EngineError, match="invalid device ordinal"):
        cuda.Device()


def test_context_is_current_inside_only(gpu: FakeGpu) -> None:
    device = cuda.Device()
    gpu.call("cuCtxPushCurrent", FOREIGN)
    with device:
        assert gpu.stack == [FOREIGN, gpu.PRIMARY]
        with device:
            assert gpu.stack == [FOREIGN, gpu.PRIMARY, gpu.PRIMARY]
        with pytest.raises(ZeroDivisionError), device:
            1 / 0  # noqa: B018
        assert gpu.stack == [FOREIGN, gpu.PRIMARY]
    assert gpu.stack == [FOREIGN]
    gpu.call("cuCtxPopCurrent")


def test_primary_context_is_retained_once(gpu: FakeGpu) -> None:
    devices = [cuda.Device() for _ in range(3)]
    assert gpu.retained == 1
    assert {device.index for device in devices} == {0}


def test_any_thread_may_use_and_free(gpu: FakeGpu) -> None:
    device = cuda.Device()
    with device:
        stream = cuda.Stream(device)

    def synchronize_and_free() -> list[int]:
        with device:
            stream.synchronize()
        stream.free()
        return list(gpu.stack)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(synchronize_and_free).result() == []
    assert not gpu.live


def test_without_the_context_nothing_goes(gpu: FakeGpu) -> None:
    device = cuda.Device()
    with pytest.raises(EngineError, match="invalid device context"):
        cuda.DeviceBuffer(device, 8)
    with device:
        stream = cuda.Stream(device)
    with pytest.raises(EngineError, match="invalid device context"):
        stream.synchronize()
    stream.free()
    assert not gpu.live


def test_resources_go_once_by_hand_or_by_the_collector(gpu: FakeGpu) -> None:
    device = cuda.Device()
    with device:
        kept = [
            cuda.DeviceBuffer(device, 8),
            cuda.PinnedBuffer(device, (8,), "uint8"),
            cuda.Stream(device),
            cuda.Event(device),
        ]
    assert len(gpu.live) == 4
    for resource in kept:
        resource.free()
        resource.free()
    assert not gpu.live
    with pytest.raises(EngineError, match="This DeviceBuffer is freed"):
        _ = kept[0].pointer
    with device:
        kept = [cuda.DeviceBuffer(device, 8), cuda.Stream(device), cuda.Event(device)]
    del resource
    kept.clear()
    gc.collect()
    assert not gpu.live


def test_freeing_after_a_lost_context_raises_nothing(gpu: FakeGpu) -> None:
    device = cuda.Device()
    with device:
        buffer = cuda.DeviceBuffer(device, 8)
    gpu.errors["cuMemFree"] = "an illegal memory access was encountered"
    buffer.free()
    assert "cuMemFree" in gpu.calls


@pytest.mark.usefixtures("gpu")
def test_gpu_of_an_address(package: str) -> None:
    device = cuda.Device()
    with device:
        buffer = cuda.DeviceBuffer(device, 8)
        assert device.index_of(buffer.pointer) == (0 if package == "cuda.bindings" else None)
