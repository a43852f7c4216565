import pytest

from fer_edge.artifact import EngineRecord
from fer_edge.engines import cuda
from fer_edge.engines.built_for import built_elsewhere, built_for
from fer_edge.errors import BackendUnavailableError

from .cuda.fakes import FakeGpu

ORIN = cuda.GpuDescription("Orin", (8, 7), 16, 64 << 30, "12.6")


def record(**gpu: object) -> EngineRecord:
    return EngineRecord(
        file="engines/a",
        backend="tensorrt",
        backend_version="10.3.0",
        precision="fp16",
        min_batch=1,
        opt_batch=8,
        max_batch=64,
        **gpu,
    )


@pytest.mark.usefixtures("gpu")
def test_a_gpu_is_described() -> None:
    assert cuda.describe_gpu() == cuda.GpuDescription("Fake GPU", (8, 7), 16, 1 << 30, "12.6")
    assert str(cuda.describe_gpu()) == "Fake GPU (8.7, 16 multiprocessors)"


def test_a_module_of_the_same_name_is_another() -> None:
    nano = cuda.GpuDescription("Orin", (8, 7), 4, 8 << 30, "12.6")
    assert built_elsewhere(record(**built_for(ORIN)), nano) == (
        "engines/a was built for Orin (8.7, 16 multiprocessors), and this machine has "
        "Orin (8.7, 4 multiprocessors)."
    )


def test_the_same_gpu_with_other_memory_will_do() -> None:
    other = cuda.GpuDescription("Orin", (8, 7), 16, 61 << 30, "13.0")
    assert built_elsewhere(record(**built_for(ORIN)), other) is None


def test_what_older_exports_recorded() -> None:
    assert built_elsewhere(record(gpu=None), ORIN) is None
    assert built_elsewhere(record(gpu="Orin"), ORIN) is None
    assert built_elsewhere(record(gpu="Thor"), ORIN) == (
        "engines/a was built for Thor, and this machine has Orin (8.7, 16 multiprocessors)."
    )


def test_each_gpu_by_its_number(gpu: FakeGpu) -> None:
    gpu.count = 2
    cuda.require_cuda(1)
    assert cuda.describe_gpu(1).name == "Fake GPU"
    with pytest.raises(BackendUnavailableError, match=r"no cuda:2: its last GPU is cuda:1"):
        cuda.describe_gpu(2)
