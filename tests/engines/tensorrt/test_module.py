import sys
from pathlib import Path

import pytest

from fer_edge.engines import old_driver
from fer_edge.engines.tensorrt import module
from fer_edge.engines.tensorrt.module import cause, load_module, log_of, module_version, start
from fer_edge.errors import BackendUnavailableError, UsageError

from ..fakes import FakeTensorRT


@pytest.mark.parametrize(
    ("backend", "name", "fix"),
    [
        ("tensorrt", "tensorrt", r"pip install 'fer-edge\[tensorrt\]'.*JetPack"),
        ("tensorrt-rtx", "tensorrt_rtx", r"pip install 'fer-edge\[rtx\]'"),
    ],
)
def test_missing_module_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, backend: str, name: str, fix: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendUnavailableError, match=f"^{name} cannot be imported.*{fix}"):
        load_module(backend)


def test_unknown_backend() -> None:
    with pytest.raises(UsageError, match="'openvino' is not a TensorRT backend"):
        load_module("openvino")


def test_version(fake_tensorrt: FakeTensorRT) -> None:
    assert module_version("tensorrt") == fake_tensorrt.__version__


@pytest.mark.parametrize(
    ("backend", "flavour", "hint"),
    [
        ("tensorrt", 13, "driver 580 or newer, or what is for CUDA 12: pip uninstall -y tensorrt "),
        ("tensorrt-rtx", 13, "pip install 'fer-edge[rtx-cu12]'"),
        ("tensorrt", 12, "Install driver 525 or newer."),
        ("tensorrt", None, "525 for CUDA 12, 580 for CUDA 13"),
    ],
)
def test_start_under_a_driver_that_is_too_old(
    fake_tensorrt: FakeTensorRT,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    flavour: int | None,
    hint: str,
) -> None:
    fake_tensorrt.starts = False
    monkeypatch.setattr(module, "package_cuda", lambda _: flavour)
    monkeypatch.setattr(old_driver, "driver_cuda", lambda: (12, 4))
    with pytest.raises(BackendUnavailableError) as caught:
        start("Runtime", backend)
    message = str(caught.value)
    assert f"The NVIDIA driver is too old for {backend} 10.3.0 (CUDA error 35)." in message
    assert "It knows CUDA 12.4 at most" in message
    assert hint in message


def test_on_jetson_the_driver_is_jetpacks(
    fake_tensorrt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "nv_tegra_release").touch()
    monkeypatch.setattr(old_driver, "_TEGRA", tmp_path / "nv_tegra_release")
    fake_tensorrt.starts = False
    with pytest.raises(BackendUnavailableError, match="comes with JetPack"):
        start("Runtime", "tensorrt")


def test_another_reason_than_the_driver(fake_tensorrt: FakeTensorRT) -> None:
    fake_tensorrt.starts = False
    fake_tensorrt.start_error = "CUDA initialization failure with error: 999"
    with pytest.raises(
        BackendUnavailableError, match=r"tensorrt 10.3.0 cannot start: CUDA init.*999. .*nvidia-smi"
    ):
        start("Runtime", "tensorrt")


@pytest.mark.usefixtures("fake_tensorrt")
def test_log_collects_errors_only_and_only_inside() -> None:
    log = log_of("tensorrt")
    severity = type(log.logger).Severity
    with log.collect() as outer:
        log.logger.log(severity.ERROR, "one")
        log.logger.log(severity.WARNING, "unheard")
        with log.collect() as inner:
            log.logger.log(severity.INTERNAL_ERROR, "two")
        log.logger.log(severity.ERROR, "three")
    log.logger.log(severity.ERROR, "four")
    assert outer == ["one", "two", "three"]
    assert inner == ["two"]


@pytest.mark.parametrize(
    ("errors", "text"),
    [
        ([], "it gave no reason"),
        (["first.", "second"], "first"),
        (
            [
                "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:337: check] "
                "FP32 GEMM is not supported. In compileGraph at /_src/codeGenerator.cpp:2012)"
            ],
            "Myelin: [pass.cpp:337: check] FP32 GEMM is not supported",
        ),
    ],
)
def test_cause_is_the_first_error_without_source_places(errors: list[str], text: str) -> None:
    assert cause(errors) == text
