from collections.abc import Callable, Iterator

import numpy as np
import pytest

from fer_edge.engines import cuda
from fer_edge.engines.cuda.driver import VARIABLE, driver
from fer_edge.errors import EngineError, FerEdgeError

from .fakes import PACKAGES, FakeGpu


@pytest.fixture
def device(gpu: FakeGpu) -> Iterator[cuda.Device]:  # noqa: ARG001
    with cuda.Device() as device:
        yield device


def copies(device: cuda.Device) -> tuple[cuda.PinnedBuffer, cuda.DeviceBuffer, cuda.PinnedBuffer]:
    source = cuda.PinnedBuffer(device, (4,), np.uint8)
    target = cuda.PinnedBuffer(device, (4,), np.uint8)
    source.array[:] = (1, 2, 3, 4)
    target.array[:] = 0
    return source, cuda.DeviceBuffer(device, 4), target


@pytest.mark.parametrize("ordered", [True, False])
def test_an_event_orders_two_streams(device: cuda.Device, ordered: bool) -> None:
    source, buffer, target = copies(device)
    second, first, event = cuda.Stream(device), cuda.Stream(device), cuda.Event(device)
    second.wait(event)  # has recorded nothing
    first.upload(source.array, buffer)
    event.record(first)
    if ordered:
        second.wait(event)
    second.download(buffer, target.array)
    second.synchronize()
    first.synchronize()
    assert (target.array.tolist() == [1, 2, 3, 4]) == ordered


def test_streams_of_others_are_waited_for(device: cuda.Device, gpu: FakeGpu) -> None:
    source, buffer, target = copies(device)
    producer = cuda.Stream(device)
    producer.upload(source.array, buffer)
    producer.download(buffer, target.array)
    device.wait_for(producer.address)
    assert target.array.tolist() == [1, 2, 3, 4]
    assert not gpu.live[producer.address]


class TestGraph:
    @pytest.fixture
    def package(self) -> str:
        return "cuda.bindings"

    def test_is_captured_once_and_replayed(self, device: cuda.Device, gpu: FakeGpu) -> None:
        source, buffer, target = copies(device)
        stream = cuda.Stream(device)

        def work() -> None:
            stream.upload(source.array, buffer)
            stream.download(buffer, target.array)

        graph = cuda.Graph(device, stream, work)
        stream.synchronize()
        assert target.array.tolist() == [0] * 4, "work is captured, not run"
        for value in (5, 6):
            source.array[:] = value
            graph.launch(stream)
            stream.synchronize()
            assert target.array.tolist() == [value] * 4
        made = len(gpu.live)
        graph.free()
        assert len(gpu.live) == made - 1, "what it was made from went before"

    @pytest.mark.parametrize("illegal", ["cuda.DeviceBuffer", "synchronize", "raise"])
    def test_what_cannot_be_captured_leaves_the_stream(
        self, device: cuda.Device, gpu: FakeGpu, illegal: str
    ) -> None:
        source, buffer, target = copies(device)
        stream = cuda.Stream(device)

        def fail() -> None:
            stream.upload(source.array, buffer)
            {
                "cuda.DeviceBuffer": lambda: cuda.DeviceBuffer(device, 8),
                "synchronize": stream.synchronize,
                "raise": lambda: 1 / 0,
            }[illegal]()

        before = set(gpu.live)
        with pytest.raises((EngineError, ZeroDivisionError)):
            cuda.Graph(device, stream, fail)
        assert set(gpu.live) == before
        stream.upload(source.array, buffer)
        stream.download(buffer, target.array)
        stream.synchronize()
        assert target.array.tolist() == [1, 2, 3, 4]

    @pytest.mark.parametrize("function", ["cuStreamEndCapture", "cuGraphInstantiate"])
    def test_no_graph_leaks(self, device: cuda.Device, gpu: FakeGpu, function: str) -> None:
        stream = cuda.Stream(device)
        before = set(gpu.live)
        gpu.errors[function] = "out of memory"
        with pytest.raises(EngineError, match="out of memory"):
            cuda.Graph(device, stream, lambda: None)
        assert set(gpu.live) == before


class TestGraphOfPycuda:
    @pytest.fixture
    def package(self) -> str:
        return "pycuda"

    def test_is_refused(self, device: cuda.Device) -> None:
        stream = cuda.Stream(device)
        with pytest.raises(EngineError, match="PyCUDA has no CUDA graphs"):
            cuda.Graph(device, stream, lambda: None)


@pytest.mark.gpu
@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("graph", [False, True])
def test_on_a_real_gpu(package: str, graph: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, package)
    try:
        driver()
        cuda.require_cuda()
    except FerEdgeError as error:
        pytest.skip(str(error))
    if graph and package == "pycuda":
        pytest.skip("PyCUDA has no CUDA graphs")
    with cuda.Device() as device:
        source, buffer, target = copies(device)
        first, second, event = cuda.Stream(device), cuda.Stream(device), cuda.Event(device)

        def upload() -> None:
            first.upload(source.array, buffer)

        run: Callable[[], None] = upload
        if graph:
            captured = cuda.Graph(device, first, upload)
            run = lambda: captured.launch(first)  # noqa: E731
        for value in range(50):
            source.array[:] = value
            run()
            event.record(first)
            second.wait(event)
            second.download(buffer, target.array)
            second.synchronize()
            assert target.array.tolist() == [value] * 4
        device.wait_for(1)  # the legacy default stream
        device.wait_for(first.address)
    for resource in (source, buffer, target, first, second, event):
        resource.free()
