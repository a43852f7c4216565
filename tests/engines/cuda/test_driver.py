import ast
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fer_edge.engines import cuda
from fer_edge.engines.cuda import driver as driver_module
from fer_edge.engines.cuda import pycuda
from fer_edge.engines.cuda.driver import VARIABLE, Driver, driver
from fer_edge.engines.cuda.pycuda import pycuda_functions
from fer_edge.errors import (
    BackendUnavailableError,
    EngineError,
    MissingDependencyError,
    UsageError,
)

from .fakes import FakeGpu, FakePyCuda, _Context, _Device, _Event, _Stream
from .record_pycuda import RECORDED


def called_functions() -> set[str]:
    """Names of driver functions in the package, but for the table of PyCUDA's."""
    files = [one for one in Path(cuda.__file__).parent.glob("*.py") if one.name != "pycuda.py"]
    strings = [
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return {one for one in strings if re.fullmatch(r"cu[A-Z]\w+", one)}


def test_package_is_the_one_that_was_asked_for(gpu: FakeGpu, package: str) -> None:
    assert driver().package == package
    assert gpu.calls == ["cuInit"]
    driver()
    assert gpu.calls == ["cuInit"]


@pytest.mark.usefixtures("gpu")
def test_cuda_bindings_are_the_default(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.delenv(VARIABLE)
    if package == "pycuda":
        monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
        with pytest.raises(BackendUnavailableError, match=r"^cuda.bindings .*fer-edge\[rtx\]"):
            driver()
    else:
        assert driver().package == "cuda.bindings"


def test_what_was_asked_for_and_is_missing_is_not_replaced(
    gpu: FakeGpu, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"{package}.driver", None)
    with pytest.raises(
        MissingDependencyError, match=rf"^{package} cannot be imported.*fer-edge\[(rtx|pycuda)\]"
    ) as caught:
        cuda.cuda_available()
    assert not isinstance(caught.value, EngineError)
    assert gpu.calls == []


def test_unknown_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "cupy")
    with pytest.raises(UsageError, match=r"FER_EDGE_CUDA is 'cupy'.*cuda.bindings or pycuda"):
        driver()


def test_no_usable_gpu_in_nvidias_words(gpu: FakeGpu) -> None:
    gpu.errors["cuInit"] = "no CUDA-capable device is detected"
    with pytest.raises(
        BackendUnavailableError, match=r"cannot start: no CUDA-capable device.* nvidia-smi"
    ):
        cuda.require_cuda()
    assert cuda.cuda_available()[0] is False
    gpu.errors.clear()
    assert cuda.cuda_available() == (True, "")


@pytest.mark.parametrize(
    ("function", "message"),
    [("cuInit", "has no NVIDIA driver"), ("cuDeviceGetCount", "a driver with cuDeviceGetCount")],
)
def test_functions_that_the_driver_lacks(
    function: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise RuntimeError(f'Function "{function}" not found')

    module = SimpleNamespace(cuInit=lambda _: (0,), cuDeviceGetCount=missing)
    setattr(module, function, missing)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", module)
    with pytest.raises(BackendUnavailableError, match=f"{message}.*onnxruntime-cpu"):
        Driver("cuda.bindings").call("cuDeviceGetCount")


def test_out_of_memory_and_other_errors(gpu: FakeGpu) -> None:
    with cuda.Device() as device:
        gpu.fail_after = 0
        with pytest.raises(EngineError, match=r"out of memory.*smaller --batch"):
            cuda.DeviceBuffer(device, 16)
        gpu.fail_after = -1
        gpu.errors["cuStreamCreate"] = "an illegal memory access was encountered"
        with pytest.raises(EngineError, match=r"cuStreamCreate: an illegal memory access.*smi"):
            cuda.Stream(device)


def test_cuda_bindings_take_the_calls() -> None:
    """Arguments reach the driver, which is missing here, through the real cuda-bindings."""
    real = pytest.importorskip("cuda.bindings.driver")
    if cuda.cuda_available()[0]:
        pytest.skip("has a GPU, where tests run it")
    handles = {
        "cuCtxPushCurrent": (real.CUcontext(1),),
        "cuDeviceGetName": (256, real.CUdevice(0)),
        "cuDeviceComputeCapability": (real.CUdevice(0),),
        "cuDevicePrimaryCtxRetain": (real.CUdevice(0),),
        "cuDeviceGet": (0,),
        "cuDeviceGetAttribute": (
            real.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
            real.CUdevice(0),
        ),
        "cuDeviceTotalMem": (real.CUdevice(0),),
        "cuInit": (0,),
        "cuMemAlloc": (8,),
        "cuMemFree": (real.CUdeviceptr(1),),
        "cuMemHostAlloc": (8, 0),
        "cuMemFreeHost": (1,),
        "cuMemcpyHtoDAsync": (1, bytearray(8), 8, real.CUstream(1)),
        "cuMemcpyDtoHAsync": (bytearray(8), 1, 8, real.CUstream(1)),
        "cuMemcpyDtoDAsync": (1, 2, 8, real.CUstream(1)),
        "cuModuleLoadData": (b"\0",),
        "cuModuleGetFunction": (real.CUmodule(1), b"name"),
        "cuLaunchKernel": (real.CUfunction(1), *[1] * 6, 0, real.CUstream(1), 1, 0),
        "cuPointerGetAttribute": (
            real.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
            1,
        ),
        "cuStreamCreate": (1,),
        "cuStreamDestroy": (real.CUstream(1),),
        "cuStreamSynchronize": (2,),
        "cuStreamWaitEvent": (real.CUstream(1), real.CUevent(1), 0),
        "cuStreamBeginCapture": (
            real.CUstream(1),
            real.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
        ),
        "cuStreamEndCapture": (real.CUstream(1),),
        "cuEventCreate": (2,),
        "cuEventDestroy": (real.CUevent(1),),
        "cuEventElapsedTime": (real.CUevent(1), real.CUevent(2)),
        "cuEventRecord": (real.CUevent(1), real.CUstream(1)),
        "cuGraphInstantiate": (real.CUgraph(1), 0),
        "cuGraphDestroy": (real.CUgraph(1),),
        "cuGraphLaunch": (real.CUgraphExec(1), real.CUstream(1)),
        "cuGraphExecDestroy": (real.CUgraphExec(1),),
    }
    assert called_functions() <= {
        *handles,
        "cuCtxPopCurrent",
        "cuDeviceGetCount",
        "cuDriverGetVersion",
    }
    for name in called_functions() - {"cuStreamSynchronize"}:
        with pytest.raises(RuntimeError, match=r"libcuda|driver library|not found"):
            getattr(real, name)(*handles.get(name, ()))


def test_pycuda_has_all_but_graphs_and_pointers(gpu: FakeGpu) -> None:
    left_out = called_functions() - set(pycuda_functions(FakePyCuda(gpu)))
    assert all(
        name.startswith(("cuGraph", "cuPointer")) or "Capture" in name for name in left_out
    ), left_out
    assert driver_module._HINTS.keys() == {"cuda.bindings", "pycuda"}


def test_pycuda_has_what_is_called_of_it() -> None:
    recorded = RECORDED.read_text().split()
    members = {name.split(".")[-1] for name in recorded}
    table = ast.parse(Path(pycuda.__file__).read_text())
    called = {
        node.attr: ast.unparse(node.value)
        for node in ast.walk(table)
        if isinstance(node, ast.Attribute)
    }
    of_others = {"encode": "device.name()", "decode": "name", "base": "array", "uint8": "np"}
    assert of_others.items() <= called.items()
    assert called.keys() - of_others <= members
    assert {"Context.pop", "Context.push", "Device.retain_primary_context"} <= set(recorded)
    assert {"module_from_buffer", "Module.get_function", "Function"} <= set(recorded)
    assert not [name for name in recorded if "raph" in name and "raphics" not in name]
    for fake in (_Device, _Context, _Stream, _Event):
        name = fake.__name__.removeprefix("_")
        methods = {one for one in vars(fake) if not one.startswith("_")}
        assert {f"{name}.{method}" for method in methods} <= set(recorded)
