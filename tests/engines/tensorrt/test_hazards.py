"""What a real GPU does to an engine, on the simulated one: each was a fault once."""

import gc
import threading
from collections.abc import Callable

import numpy as np
import pytest

from fer_edge.engines import cuda
from fer_edge.engines.base import DeviceEngine, Faces
from fer_edge.engines.cuda import driver as driver_module
from fer_edge.engines.tensorrt import TensorRTBackend, TensorRTEngine, rtx
from fer_edge.errors import (
    BackendUnavailableError,
    EngineLoadError,
    InferenceError,
    InputError,
)
from fer_edge.files import cache_folder

from ..cuda.fakes import LEGACY
from ..device_arrays import WithDlpack, WithInterface
from ..fakes import FakeTensorRT, expected_of_fake

MakeFaces = Callable[[int], Faces]
both = pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])


def opened(backend: TensorRTBackend = "tensorrt", device: int = 0) -> TensorRTEngine:
    return TensorRTEngine(b"plan", backend, precision="fp16", device=device)


class TestLosing:
    FIRST = r"^CUDA failed in cuStreamSynchronize: an illegal memory.*start it again"

    @both
    def test_run_tells_the_first_error_and_close_raises_nothing(
        self, backend: TensorRTBackend, fake_tensorrt: FakeTensorRT, faces: MakeFaces
    ) -> None:
        gpu = fake_tensorrt.gpu
        engine = opened(backend)
        fake_tensorrt.during_execution = gpu.break_down
        for _ in range(2):
            with pytest.raises(InferenceError, match=self.FIRST):
                engine.run(faces(3))
        engine.close()
        engine.close()
        # What is the host's is freed; the GPU's goes with the process.
        assert fake_tensorrt.deleted[-2:] == ["engine", "runtime"]
        with pytest.raises(EngineLoadError, match=self.FIRST):
            opened(backend)

    def test_while_opening(self, fake_tensorrt: FakeTensorRT) -> None:
        fake_tensorrt.during_execution = fake_tensorrt.gpu.break_down
        with pytest.raises(EngineLoadError, match=self.FIRST):
            opened()

    def test_a_forked_process_is_told_and_frees_nothing(
        self, fake_tensorrt: FakeTensorRT, faces: MakeFaces, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with opened() as engine:
            live = set(fake_tensorrt.gpu.live)
            with monkeypatch.context() as forked:
                forked.setattr(driver_module.os, "getpid", lambda: -1)
                with pytest.raises(BackendUnavailableError, match="forked"):
                    engine.run(faces(2))
                engine.close()
            assert set(fake_tensorrt.gpu.live) == live
            batch = faces(2)
            np.testing.assert_array_equal(engine.run(batch), expected_of_fake(batch))


class TestDevices:
    @both
    def test_an_engine_stays_on_its_own(
        self, backend: TensorRTBackend, fake_tensorrt: FakeTensorRT, faces: MakeFaces
    ) -> None:
        gpu = fake_tensorrt.gpu
        gpu.count = 2
        batch = faces(11)
        with opened(backend, 0) as first, opened(backend, 1) as second:
            assert {gpu.device_of[one] for one in gpu.live} == {0, 1}
            for engine in (first, second, first):
                np.testing.assert_array_equal(engine.run(batch), expected_of_fake(batch))
        assert not gpu.live

    def test_one_that_is_not_there(self, fake_tensorrt: FakeTensorRT) -> None:
        with pytest.raises(BackendUnavailableError, match="no cuda:1: its last GPU is cuda:0"):
            opened(device=1)
        assert fake_tensorrt.deleted == []

    def test_a_plan_for_another(self, fake_tensorrt: FakeTensorRT) -> None:
        fake_tensorrt.needs_capability = (8, 9)
        with pytest.raises(EngineLoadError, match=r"built for another GPU.*got compute 8.9"):
            opened()

    def test_faces_on_another(self, fake_tensorrt: FakeTensorRT, faces: MakeFaces) -> None:
        fake_tensorrt.gpu.count = 2
        array = WithDlpack(fake_tensorrt.gpu, faces(2))
        with opened(device=1) as engine, pytest.raises(InputError, match=r"GPU 0.*on GPU 1"):
            engine.run(array)
        array.free()

    def test_memory_that_is_not_enough(self, fake_tensorrt: FakeTensorRT) -> None:
        fake_tensorrt.gpu.memory = 40_000
        with pytest.raises(EngineLoadError, match="out of memory"):
            opened()
        assert not fake_tensorrt.gpu.live


class TestFacesOnTheGpu:
    @both
    @pytest.mark.parametrize("kind", [WithInterface, WithDlpack])
    def test_any_address_will_do(
        self,
        backend: TensorRTBackend,
        kind: type[WithDlpack],
        fake_tensorrt: FakeTensorRT,
        faces: MakeFaces,
    ) -> None:
        """Part of a tensor: TensorRT wants addresses that 256 divides."""
        whole = kind(fake_tensorrt.gpu, faces(5))
        with cuda.Device() as device:
            device.wait_for(whole.stream)
        whole.pointer += 48 * 48 // 4 + 1
        whole.shape = (4, 1, 48, 48)
        with opened(backend) as engine:
            probabilities = engine.run(whole)
        fake_tensorrt.gpu.stack.append(fake_tensorrt.gpu.PRIMARY)
        batch = np.frombuffer(
            fake_tensorrt.gpu.bytes_at(whole.pointer, 4 * 48 * 48), np.uint8
        ).reshape(whole.shape)
        fake_tensorrt.gpu.stack.pop()
        np.testing.assert_array_equal(probabilities, expected_of_fake(batch))

    @pytest.mark.parametrize("told", [{"stream": None}, {}])
    def test_the_default_stream_is_waited_for(
        self,
        told: dict,
        fake_tensorrt: FakeTensorRT,
        faces: MakeFaces,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """PyCUDA and Numba name no stream when they have written on the default one."""
        gpu = fake_tensorrt.gpu
        batch = faces(3)
        array = WithInterface(gpu, 255 - batch)
        interface = {
            name: value
            for name, value in array.__cuda_array_interface__.items()
            if name != "stream"
        }
        monkeypatch.setattr(WithInterface, "__cuda_array_interface__", interface | told)
        with cuda.Device() as device:
            device.wait_for(array.stream)
            array.stream = LEGACY
        array.write(batch)
        with opened() as engine:
            np.testing.assert_array_equal(engine.run(array), expected_of_fake(batch))


class TestCapture:
    def test_the_collector_frees_nothing_meanwhile(self, fake_tensorrt: FakeTensorRT) -> None:
        device = cuda.Device()
        with device:
            stream = cuda.Stream(device)

            def work() -> None:
                cycle: list[object] = [cuda_garbage.pop()]
                cycle.append(cycle)
                del cycle
                junk = [[] for _ in range(100_000)]
                del junk

            cuda_garbage = [cuda.DeviceBuffer(device, 8)]
            cuda.Graph(device, stream, work).free()
            assert gc.isenabled()
        gc.collect()
        assert fake_tensorrt.gpu.calls.count("cuMemFree") == 1

    def test_others_allocate_meanwhile(self, fake_tensorrt: FakeTensorRT) -> None:
        device = cuda.Device()

        def allocate() -> None:
            with device:
                cuda.DeviceBuffer(device, 8).free()

        def work() -> None:
            other = threading.Thread(target=allocate)
            other.start()
            other.join()

        with device:
            stream = cuda.Stream(device)
            cuda.Graph(device, stream, work).free()
        assert fake_tensorrt.gpu.calls.count("cuMemFree") == 1

    @both
    def test_refused_it_is_said(
        self, backend: TensorRTBackend, fake_tensorrt: FakeTensorRT, faces: MakeFaces
    ) -> None:
        fake_tensorrt.gpu.graphs_supported = False
        with opened(backend) as engine:
            assert engine.describe().launch == (
                "enqueue: CUDA failed in cuStreamBeginCapture: operation not supported"
            )
            batch = faces(9)
            np.testing.assert_array_equal(engine.run(batch), expected_of_fake(batch))

    def test_rtx_is_asked_first(self, fake_tensorrt: FakeTensorRT) -> None:
        fake_tensorrt.capturable = False
        with opened("tensorrt-rtx") as engine:
            assert engine.describe().launch == (
                "enqueue: TensorRT-RTX says that this engine cannot be captured"
            )
        assert "cuStreamBeginCapture" not in fake_tensorrt.gpu.calls


class TestKernels:
    def test_are_compiled_once_for_all_contexts_and_starts(
        self, fake_tensorrt: FakeTensorRT
    ) -> None:
        for _ in range(2):
            opened("tensorrt-rtx").close()
            assert fake_tensorrt.compiled == 3, "once for each of the buckets 2, 4 and 8"
        caches = {id(config.cache) for config in fake_tensorrt.configs if config.cache}
        assert len(caches) == 2, "one for all contexts of an engine"

    @pytest.mark.parametrize("change", ["driver_version", "multiprocessors", "name"])
    def test_of_another_gpu_or_driver_are_not_taken(
        self, change: str, fake_tensorrt: FakeTensorRT
    ) -> None:
        opened("tensorrt-rtx").close()
        setattr(fake_tensorrt.gpu, change, "Another" if change == "name" else 13000)
        opened("tensorrt-rtx").close()
        assert len(list((cache_folder() / "kernels").iterdir())) == 2
        assert fake_tensorrt.compiled == 6

    def test_of_another_engine_are_not_taken(self, fake_tensorrt: FakeTensorRT) -> None:
        opened("tensorrt-rtx").close()
        TensorRTEngine(b"another", "tensorrt-rtx", precision="fp16").close()
        assert fake_tensorrt.compiled == 6

    def test_a_damaged_cache_is_started_over(self, fake_tensorrt: FakeTensorRT) -> None:
        opened("tensorrt-rtx").close()
        (cache,) = (cache_folder() / "kernels").iterdir()
        whole = cache.read_bytes()
        cache.write_bytes(b"rubbish")
        opened("tensorrt-rtx").close()
        assert fake_tensorrt.compiled == 6
        assert cache.read_bytes() == whole

    def test_without_a_place_for_them(
        self, fake_tensorrt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch, faces: MakeFaces
    ) -> None:
        monkeypatch.setenv("FER_EDGE_CACHE", "/dev/null/nowhere")
        batch = faces(2)
        with opened("tensorrt-rtx") as engine:
            np.testing.assert_array_equal(engine.run(batch), expected_of_fake(batch))
        assert fake_tensorrt.compiled == 3

    def test_swapped_ones_are_not_captured(
        self, fake_tensorrt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rtx, "SPECIALIZATION", "LAZY")
        with pytest.raises(AssertionError, match="kernels swap"):
            opened("tensorrt-rtx")
        assert not fake_tensorrt.gpu.live


class TestTimes:
    @both
    @pytest.mark.parametrize("n", [1, 4, 8])
    def test_parts_of_a_batch(
        self, backend: TensorRTBackend, n: int, fake_tensorrt: FakeTensorRT, faces: MakeFaces
    ) -> None:
        batch = faces(n)
        with opened(backend) as engine:
            assert isinstance(engine, DeviceEngine)
            before = set(fake_tensorrt.gpu.live)
            probabilities, times = engine.run_timed(batch)
            assert set(fake_tensorrt.gpu.live) == before
        np.testing.assert_array_equal(probabilities, expected_of_fake(batch))
        parts = (times.host_to_device_ms, times.compute_ms, times.device_to_host_ms)
        assert all(0 < part < 1000 for part in (*parts, times.enqueue_ms))

    @pytest.mark.usefixtures("fake_tensorrt")
    def test_of_one_batch_only(self, faces: MakeFaces) -> None:
        with opened() as engine:
            with pytest.raises(InputError, match="one batch, at most 8 faces, got 9"):
                engine.run_timed(faces(9))
            with pytest.raises(InputError, match="at most 8 faces, got 9"):
                engine.run_many([faces(9)])

    @both
    @pytest.mark.parametrize("n", [2, 3, 8])
    def test_two_batches_of_any_size_are_in_flight(
        self, backend: TensorRTBackend, n: int, fake_tensorrt: FakeTensorRT, faces: MakeFaces
    ) -> None:
        batches = [faces(n) for _ in range(5)]
        with opened(backend) as engine:
            engine.run_many(batches)
            live = set(fake_tensorrt.gpu.live)
            fake_tensorrt.gpu.calls.clear()
            found = engine.run_many(batches)
            assert set(fake_tensorrt.gpu.live) == live
        calls = fake_tensorrt.gpu.calls
        assert calls[: calls.index("cuStreamSynchronize")].count("cuMemcpyHtoDAsync") == 2
        for batch, probabilities in zip(batches, found, strict=True):
            np.testing.assert_array_equal(probabilities, expected_of_fake(batch))
        assert not fake_tensorrt.gpu.live
