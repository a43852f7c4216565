import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from fer_edge.engines import old_driver, open_engine, ort_cuda, ort_package
from fer_edge.engines.ort import OnnxRuntimeEngine
from fer_edge.engines.stdout import stdout_to_stderr
from fer_edge.errors import BackendUnavailableError, EngineLoadError

from .graphs import make_graph

TOO_OLD = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_execution_provider_info.cc:63 static "
    "onnxruntime::CUDAExecutionProviderInfo onnxruntime::CUDAExecutionProviderInfo::"
    "FromProviderOptions(const onnxruntime::ProviderOptions&)"
    " [ONNXRuntimeError] : 1 : FAIL : provider_options_utils.h:187 Parse Failed to parse provider "
    'option "device_id": CUDA failure 35: CUDA driver version is insufficient for CUDA runtime '
    "version ; GPU=-1 ; hostname=vm ; file=/onnxruntime_src/cuda_execution_provider_info.cc ; "
    "line=70 ; expr=cudaGetDeviceCount(&num_devices); "
)
"""What onnxruntime-gpu 1.31.1 says where libcuda.so.1 gives its version as CUDA 12.4."""


class GpuOnnxRuntime:
    """onnxruntime-gpu 1.31.1 on a machine with a driver for CUDA 12.4."""

    __version__ = "1.31.1"
    cuda_version = "13.0"
    SessionOptions = staticmethod(lambda: SimpleNamespace(add_session_config_entry=lambda *_: None))

    def __init__(self, real: ModuleType) -> None:
        self.real = real
        self.failure: str | None = None
        self.providers: list[tuple[str, dict[str, str]]] = []

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        print("Failed to load libcublasLt.so.13: cannot open shared object file")

    def InferenceSession(self, graph: bytes, *_: object, **settings: list) -> object:  # noqa: N802
        session = self.real.InferenceSession(graph, providers=["CPUExecutionProvider"])
        if settings["providers"] == ["CPUExecutionProvider"]:
            return session
        self.providers += settings["providers"]
        os.write(1, b"CUDA says hello\n")
        if self.failure:
            raise RuntimeError(self.failure)
        names = {"get_inputs", "get_outputs", "get_modelmeta", "run"}
        return SimpleNamespace(
            get_providers=lambda: ["CUDAExecutionProvider"],
            **{name: getattr(session, name) for name in names},
        )


@pytest.fixture
def ort(monkeypatch: pytest.MonkeyPatch) -> GpuOnnxRuntime:
    fake = GpuOnnxRuntime(ort_package.load_onnxruntime())
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    for module in (old_driver, ort_cuda):
        monkeypatch.setattr(module, "driver_cuda", lambda: (12, 4))
    return fake


def test_no_search_at_each_new_number_of_faces(ort: GpuOnnxRuntime) -> None:
    with OnnxRuntimeEngine(make_graph(), device="cuda:1") as engine:
        assert engine.describe().backend == "onnxruntime-cuda"
    ((name, options),) = ort.providers
    assert name == "CUDAExecutionProvider"
    assert options == {"device_id": "1", "cudnn_conv_algo_search": "HEURISTIC"}


@pytest.mark.usefixtures("ort")
def test_what_libraries_print_is_no_output(capfd: pytest.CaptureFixture[str]) -> None:
    OnnxRuntimeEngine(make_graph(), device="cuda")
    out, err = capfd.readouterr()
    assert out == ""
    assert "Failed to load libcublasLt" in err
    assert "CUDA says hello" in err


def test_c_code_that_buffers_what_it_prints() -> None:
    code = (
        "import ctypes\nfrom fer_edge.engines.stdout import stdout_to_stderr\n"
        "with stdout_to_stderr():\n    ctypes.CDLL(None).printf(b'talk')\nprint('result')"
    )
    if sys.platform == "win32":
        pytest.skip("no libc")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("result\n", "talk")


def test_a_process_without_stdout() -> None:
    code = "from fer_edge.engines.stdout import stdout_to_stderr\nwith stdout_to_stderr(): pass"
    subprocess.run([sys.executable, "-c", f"import os; os.close(1)\n{code}"], check=True)
    with stdout_to_stderr():
        pass


def test_a_driver_that_is_too_old(ort: GpuOnnxRuntime) -> None:
    ort.failure = TOO_OLD
    with pytest.raises(BackendUnavailableError) as caught:
        OnnxRuntimeEngine(make_graph(), device="cuda")
    message = str(caught.value)
    assert "driver is too old for onnxruntime-gpu 1.31.1 (CUDA error 35)" in message
    assert "knows CUDA 12.4 at most, and onnxruntime-gpu 1.31.1 was built with CUDA 13" in message
    assert "Install driver 580 or newer" in message
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]<1.27'" in message
    assert "Export" not in message


def test_auto_goes_on_to_the_cpu(ort: GpuOnnxRuntime, tmp_path: Path) -> None:
    ort.failure = TOO_OLD
    (tmp_path / "one.onnx").write_bytes(make_graph())
    with open_engine(tmp_path / "one.onnx") as engine:
        info = engine.describe()
    assert info.backend == "onnxruntime-cpu"
    (reason,) = info.passed_over
    assert "driver is too old" in reason
    for options in ({"backend": "onnxruntime-cuda"}, {"device": "cuda"}):
        with pytest.raises(BackendUnavailableError, match="driver is too old"):
            open_engine(tmp_path / "one.onnx", **options)


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (
            "x.cc:1 CUDA failure 209: no kernel image is available for execution on the device ; "
            "GPU=0 ; expr=cudaSetDevice(0);",
            "no kernel image is available for execution on the device (CUDA 209)",
        ),
        ("x.cc:1 CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED ; GPU=0", "(CUDNN 1001)"),
        ("Invalid device ID: 3, must be between 0 (inclusive) and 1", "no such GPU"),
    ],
)
def test_a_gpu_that_fails_is_not_the_graphs_fault(
    ort: GpuOnnxRuntime, failure: str, says: str
) -> None:
    ort.failure = failure
    with pytest.raises(BackendUnavailableError) as caught:
        OnnxRuntimeEngine(make_graph(), device="cuda")
    assert says in str(caught.value)


def test_a_graph_that_fails_is(ort: GpuOnnxRuntime) -> None:
    ort.failure = "[ONNXRuntimeError] : 1 : FAIL : Fatal error: Bogus is not a registered function"
    with pytest.raises(EngineLoadError, match="cannot load this graph: Fatal error: Bogus"):
        OnnxRuntimeEngine(make_graph(), device="cuda")


def test_without_a_driver_nothing_is_loaded(
    ort: GpuOnnxRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort_cuda, "driver_cuda", lambda: None)
    with pytest.raises(BackendUnavailableError, match="no NVIDIA driver"):
        OnnxRuntimeEngine(make_graph(), device="cuda")
    assert ort.providers == []


def test_cuda_that_does_not_start_is_no_silent_fallback(
    ort: GpuOnnxRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", lambda *_, **__: session)
    with pytest.raises(BackendUnavailableError, match=r"CUDA or cuDNN is missing.*cuda,cudnn"):
        OnnxRuntimeEngine(make_graph(), device="cuda")


Installed = Callable[..., None]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Set which packages pip knows of."""

    def install(*packages: str) -> None:
        def version(name: str) -> str:
            if name not in packages:
                raise metadata.PackageNotFoundError(name)
            return "1.31.1"

        monkeypatch.setattr(metadata, "version", version)

    return install


@pytest.mark.parametrize("left", ["onnxruntime", "onnxruntime-gpu"])
def test_a_folder_that_lost_its_files(
    installed: Installed, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """What is there after pip has installed both and uninstalled one."""
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    installed(left)
    with pytest.raises(
        BackendUnavailableError,
        match=f"without its files.* Run: pip install --force-reinstall --no-deps {left}$",
    ):
        OnnxRuntimeEngine(make_graph())


@pytest.mark.parametrize(
    ("packages", "jetson", "says"),
    [
        (["onnxruntime"], False, r"Run: pip install 'onnxruntime-gpu\[cuda,cudnn\]'"),
        (
            ["onnxruntime", "onnxruntime-gpu"],
            False,
            "was installed over onnxruntime-gpu: .*--force-reinstall --no-deps onnxruntime-gpu",
        ),
        (["onnxruntime"], True, "Take the backend tensorrt, which JetPack brings"),
    ],
)
def test_what_gives_cuda(
    installed: Installed,
    ort: GpuOnnxRuntime,
    monkeypatch: pytest.MonkeyPatch,
    packages: list[str],
    jetson: bool,
    says: str,
) -> None:
    installed(*packages)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(ort_package, "on_jetson", lambda: jetson)
    with pytest.raises(BackendUnavailableError, match=says):
        OnnxRuntimeEngine(make_graph(), device="cuda")


def test_the_driver_that_is_here() -> None:
    speaks = old_driver.driver_cuda()
    assert speaks is None or speaks >= (10, 0)


def test_error_35_in_the_words_of_each_library() -> None:
    for text in (
        TOO_OLD,
        "CUDA initialization failure with error: 35",
        "Error reading CUDA GPU properties: (cudaError 35: CUDA driver version is insufficient",
    ):
        assert old_driver.is_old_driver(text)
    for text in ("CUDA failure 350: x", "error: 999", "cudaError 3", ""):
        assert not old_driver.is_old_driver(text)
