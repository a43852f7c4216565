import numpy as np
import pytest

from fer_edge.engines import cuda

from .fakes import FakeGpu


@pytest.mark.usefixtures("gpu")
def test_copies_go_to_the_gpu_and_back() -> None:
    device = cuda.Device()
    with device:
        stream = cuda.Stream(device)
        host = cuda.PinnedBuffer(device, (3, 4), np.float32)
        buffer = cuda.DeviceBuffer(device, host.array.nbytes)
        host.array[:] = np.arange(12).reshape(3, 4)
        stream.upload(host.array[:2], buffer)
        stream.synchronize()
        host.array[:] = -1
        stream.download(buffer, host.array[:2])
        assert host.array[0, 0] == -1, "a copy must wait for its turn on the stream"
        stream.synchronize()
    assert host.array.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [-1] * 4]


def test_the_fake_sees_use_after_free(gpu: FakeGpu) -> None:
    device = cuda.Device()
    with device:
        stream = cuda.Stream(device)
        host = cuda.PinnedBuffer(device, (8,), np.uint8)
        buffer = cuda.DeviceBuffer(device, 8)
        stream.upload(host.array, buffer)
        buffer.free()
        with pytest.raises(AssertionError, match="not allocated"):
            stream.synchronize()
        gpu.live[stream.address].clear()
