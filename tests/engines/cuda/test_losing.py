"""Errors after which a process is done with the GPU, and processes that were forked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_edge.engines import cuda
from fer_edge.engines.cuda import driver as driver_module
from fer_edge.engines.cuda.driver import STICKY, VARIABLE, driver
from fer_edge.errors import BackendUnavailableError, EngineError

from .fakes import FakeGpu

FIRST = (
    r"^CUDA failed in cuStreamSynchronize: an illegal memory.*takes nothing more.*start it again"
)


def lose(device: cuda.Device, gpu: FakeGpu) -> None:
    def work() -> None:
        with device:
            stream = cuda.Stream(device)
            gpu.queue(stream.address, lambda: gpu.break_down() or True)
            stream.synchronize()

    with pytest.raises(EngineError, match=FIRST):
        work()


def test_the_first_error_is_told_ever_after(gpu: FakeGpu) -> None:
    device = cuda.Device()
    lose(device, gpu)
    for attempt in (
        device.__enter__,
        lambda: cuda.DeviceBuffer(device, 8),
        lambda: device.wait_for(1),
        cuda.require_cuda,
    ):
        with pytest.raises(EngineError, match=FIRST):
            attempt()


def test_closing_goes_on_without_the_context(gpu: FakeGpu) -> None:
    device = cuda.Device()
    with device:
        buffer = cuda.DeviceBuffer(device, 8)
    lose(device, gpu)
    went_on = False
    with device.closing():
        buffer.free()
        went_on = True
        driver().call("cuMemAlloc", 8)
    assert went_on


def test_closing_hides_no_mistake_of_ours(gpu: FakeGpu) -> None:
    device = cuda.Device()
    with pytest.raises(ZeroDivisionError), device.closing():
        1 / 0  # noqa: B018
    assert gpu.stack == []


@pytest.mark.parametrize("broken", [True, False])
def test_a_failing_pop_hides_nothing(gpu: FakeGpu, broken: bool) -> None:
    device = cuda.Device()
    gpu.errors["cuCtxPopCurrent"] = "invalid argument"
    if broken:
        with pytest.raises(ZeroDivisionError), device:
            1 / 0  # noqa: B018
    else:
        with pytest.raises(EngineError, match="cuCtxPopCurrent: invalid argument"), device:
            pass
    gpu.errors.clear()
    gpu.call("cuCtxPopCurrent")


def test_errors_that_pass_lose_nothing(gpu: FakeGpu) -> None:
    device = cuda.Device()
    gpu.errors["cuMemAlloc"] = "invalid argument"
    with pytest.raises(EngineError, match="invalid argument"), device:
        cuda.DeviceBuffer(device, 8)
    gpu.errors.clear()
    with device:
        cuda.DeviceBuffer(device, 8)


def test_texts_are_the_drivers() -> None:
    """Of the errors after which, by the driver's documentation, a process has to end."""
    real = pytest.importorskip("cuda.bindings.driver").CUresult
    names = {
        "ILLEGAL_ADDRESS",
        "LAUNCH_TIMEOUT",
        "ASSERT",
        "HARDWARE_STACK_ERROR",
        "ILLEGAL_INSTRUCTION",
        "MISALIGNED_ADDRESS",
        "INVALID_ADDRESS_SPACE",
        "INVALID_PC",
        "LAUNCH_FAILED",
        "ECC_UNCORRECTABLE",
        "NVLINK_UNCORRECTABLE",
    }
    assert {f"CUDA_ERROR_{name}" for name in names} <= set(real.__members__)
    assert len(names) == len(STICKY)


def test_a_forked_process_is_told(gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    device = cuda.Device()
    with device:
        buffer = cuda.DeviceBuffer(device, 8)
    calls = len(gpu.calls)
    with monkeypatch.context() as forked:
        forked.setattr(driver_module.os, "getpid", lambda: -1)
        for attempt in (device.__enter__, cuda.require_cuda, lambda: device.wait_for(1)):
            with pytest.raises(BackendUnavailableError, match=r"forked.*spawn"):
                attempt()
        buffer.free()
    assert len(gpu.calls) == calls


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
@pytest.mark.parametrize("package", ["cuda.bindings"])
def test_a_child_says_so_and_leaves_in_peace(gpu: FakeGpu) -> None:
    device = cuda.Device()
    before = len(gpu.calls)
    child = os.fork()
    if child == 0:
        try:
            device.__enter__()
        except BackendUnavailableError:
            os._exit(7 if len(gpu.calls) == before else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_exit_frees_nothing_under_a_daemon_thread() -> None:
    """What runs on in a daemon thread at exit finds its memory; the driver takes it back then."""
    script = """
import atexit, sys
from tests.engines.cuda.fakes import FakeBindings, FakeGpu

gpu = FakeGpu()
# The last to run at exit, as the handler of weakref comes later.
atexit.register(lambda: print("freed" if "cuMemFree" in gpu.calls else "kept"))
sys.modules["cuda.bindings.driver"] = FakeBindings(gpu)

from fer_edge.engines import cuda

device = cuda.Device()
with device:
    buffer = cuda.DeviceBuffer(device, 8)
"""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.split() == ["kept"]
