import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from fer_edge.artifact import Artifact, EngineRecord, GraphRecord, Manifest, seal
from fer_edge.engines import BACKENDS, backend_status, open_engine, openvino
from fer_edge.engines.base import Faces
from fer_edge.errors import (
    ArtifactError,
    BackendUnavailableError,
    EngineLoadError,
    StorageError,
    UsageError,
)

from .fakes import FakeTensorRT
from .graphs import make_graph

without_cuda_provider = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this onnxruntime has CUDA",
)


def engine_record(**changes: object) -> EngineRecord:
    record = {
        "file": "engines/fp16.plan",
        "backend": "tensorrt",
        "backend_version": "10.3.0",
        "precision": "fp16",
        "gpu": "Fake GPU",
        "min_batch": 2,
        "opt_batch": 4,
        "max_batch": 8,
    }
    return EngineRecord.model_validate(record | changes)


@pytest.fixture
def make_artifact(tmp_path: Path) -> Callable[..., Artifact]:
    def make(
        *engines: EngineRecord, precisions: tuple[str, ...] = ("fp32", "fp16", "int8")
    ) -> Artifact:
        graphs = {}
        for precision in precisions:
            (tmp_path / f"{precision}.onnx").write_bytes(make_graph(precision))
            graphs[precision] = GraphRecord(file=f"{precision}.onnx")
        if "int8" in precisions:
            (tmp_path / "int8.cpu.onnx").write_bytes(make_graph("int8", batch=6))
            graphs["int8"].cpu_file = "int8.cpu.onnx"
        (tmp_path / "engines").mkdir()
        for record in engines:
            (tmp_path / record.file).write_bytes(b"plan")
        return seal(tmp_path, Manifest(model="small", graphs=graphs, engines=list(engines)))

    return make


@without_cuda_provider
@pytest.mark.parametrize(
    ("precisions", "chosen"),
    [
        (("fp32", "fp16", "int8"), "int8"),
        (("fp32", "fp16"), "fp32"),
        (("fp16",), "fp16"),
    ],
)
def test_auto_precision_on_the_cpu(
    make_artifact: Callable[..., Artifact], precisions: tuple[str, ...], chosen: str
) -> None:
    with open_engine(make_artifact(precisions=precisions)) as engine:
        assert engine.describe().backend == "onnxruntime-cpu"
        assert engine.describe().precision == chosen


def test_cpu_runs_the_form_for_cpus(make_artifact: Callable[..., Artifact]) -> None:
    artifact = make_artifact()
    with open_engine(artifact, backend="onnxruntime-cpu", precision="int8") as engine:
        assert engine.describe().max_batch == 6
    with open_engine(artifact, backend="onnxruntime-cpu", precision="fp32") as engine:
        assert engine.describe().max_batch is None


def test_openvino_runs_the_form_for_cpus_too(
    make_artifact: Callable[..., Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "_sums_are_exact", lambda: True)
    artifact = make_artifact()
    with open_engine(artifact, backend="openvino") as engine:
        info = engine.describe()
    assert (info.backend, info.precision, info.max_batch) == ("openvino", "int8", 6)
    with open_engine(artifact.folder / "fp16.onnx", backend="openvino", threads=1) as engine:
        info = engine.describe()
    assert (info.backend, info.precision) == ("openvino", "fp16")


def test_openvino_whose_integer_sums_saturate_runs_no_int8(
    make_artifact: Callable[..., Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "_sums_are_exact", lambda: False)
    artifact = make_artifact()
    with open_engine(artifact, backend="openvino") as engine:
        info = engine.describe()
    assert info.precision == "fp32"
    assert "adds products of integers in 16 bits" in str(info.choice)
    with pytest.raises(BackendUnavailableError, match="onnxruntime-cpu, whose sums are exact"):
        open_engine(artifact, backend="openvino", precision="int8")


def test_openvino_that_is_not_installed(
    make_artifact: Callable[..., Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'fer-edge\[openvino\]'"):
        open_engine(make_artifact(), backend="openvino")
    status = {one.backend: one for one in backend_status()}["openvino"]
    assert (status.version, status.can_run) == (None, False)
    assert "fer-edge[openvino]" in str(status.hint)


def test_folder_and_string_are_taken_too(
    make_artifact: Callable[..., Artifact], faces: Callable[[int], Faces]
) -> None:
    folder = make_artifact().folder
    for model in (folder, str(folder), folder / "fp32.onnx"):
        with open_engine(model, precision="fp32", backend="onnxruntime-cpu", threads=1) as engine:
            assert engine.run(faces(3)).shape == (3, 7)


def test_precision_that_the_artifact_lacks(make_artifact: Callable[..., Artifact]) -> None:
    with pytest.raises(ArtifactError, match=r"no int8 graph .*fer-edge export .* --int8"):
        open_engine(make_artifact(precisions=("fp32",)), precision="int8")


def test_artifact_without_graphs(make_artifact: Callable[..., Artifact]) -> None:
    with pytest.raises(ArtifactError, match="has no graph"):
        open_engine(make_artifact(precisions=()), backend="onnxruntime-cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "Unknown precision 'int4'.*fp32, fp16, int8"),
        ({"backend": "coreml"}, "Unknown backend 'coreml'.*tensorrt-rtx, onnxruntime-cuda"),
    ],
)
def test_unknown_words(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_engine(Path("anything"), **options)


@pytest.mark.usefixtures("fake_tensorrt")
def test_auto_takes_the_engine_that_fits(make_artifact: Callable[..., Artifact]) -> None:
    artifact = make_artifact(
        engine_record(file="engines/a", precision="fp32"),
        engine_record(file="engines/b", precision="int8", gpu="Another GPU"),
        engine_record(file="engines/c", precision="int8", backend_version="10.4.0"),
        engine_record(file="engines/d", precision="fp16"),
    )
    with open_engine(artifact) as engine:
        assert engine.describe().backend == "tensorrt"
        assert engine.describe().precision == "fp16"
    with open_engine(artifact, precision="fp32") as engine:
        assert engine.describe().backend == "tensorrt"
        assert engine.describe().precision == "fp32"


@without_cuda_provider
@pytest.mark.usefixtures("fake_tensorrt")
def test_auto_without_a_fitting_engine_takes_the_cpu(
    make_artifact: Callable[..., Artifact],
) -> None:
    with open_engine(make_artifact(engine_record(gpu="Another GPU"))) as engine:
        assert engine.describe().backend == "onnxruntime-cpu"


@pytest.mark.usefixtures("fake_tensorrt")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpu": "Another GPU"}, "was built for Another GPU, and this machine has Fake GPU"),
        ({"backend_version": "8.6.1"}, "was built by tensorrt 8.6.1, .* has 10.3.0"),
    ],
)
def test_named_backend_says_why_no_engine_fits(
    make_artifact: Callable[..., Artifact], changes: dict[str, str], message: str
) -> None:
    artifact = make_artifact(engine_record(**changes))
    with pytest.raises(BackendUnavailableError, match=f"{message}.*fer-edge export"):
        open_engine(artifact, backend="tensorrt")


@pytest.mark.usefixtures("fake_tensorrt")
def test_named_backend_without_an_engine(make_artifact: Callable[..., Artifact]) -> None:
    artifact = make_artifact(engine_record())
    with pytest.raises(BackendUnavailableError, match="has no engine for tensorrt-rtx"):
        open_engine(artifact, backend="tensorrt-rtx")
    with pytest.raises(BackendUnavailableError, match=r"no int8 engine for tensorrt\..*--int8"):
        open_engine(artifact, backend="tensorrt", precision="int8")


def test_named_backend_that_is_not_installed(
    make_artifact: Callable[..., Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'fer-edge\[rtx\]'"):
        open_engine(make_artifact(), backend="tensorrt-rtx")


def test_portable_engine_needs_ampere(
    make_artifact: Callable[..., Artifact], fake_tensorrt: FakeTensorRT
) -> None:
    artifact = make_artifact(engine_record(backend="tensorrt-rtx", gpu=None))
    with open_engine(artifact, backend="tensorrt-rtx") as engine:
        assert engine.describe().backend == "tensorrt-rtx"
    fake_tensorrt.gpu.capability = (7, 5)
    with pytest.raises(BackendUnavailableError, match=r"needs compute capability 8.0.* has 7.5"):
        open_engine(artifact, backend="tensorrt-rtx")


@pytest.mark.usefixtures("fake_tensorrt")
def test_changed_engine_file_is_never_loaded(make_artifact: Callable[..., Artifact]) -> None:
    artifact = make_artifact(engine_record())
    (artifact.folder / "engines/fp16.plan").write_bytes(b"plans")
    with pytest.raises(ArtifactError, match=r"fp16.plan does not match the hash"):
        open_engine(artifact)


@without_cuda_provider
def test_named_cuda_is_no_fallback(make_artifact: Callable[..., Artifact]) -> None:
    with pytest.raises(BackendUnavailableError, match="pip install onnxruntime-gpu"):
        open_engine(make_artifact(), backend="onnxruntime-cuda")


@without_cuda_provider
def test_graph_under_a_false_precision(make_artifact: Callable[..., Artifact]) -> None:
    artifact = make_artifact()
    artifact.manifest.graphs["int8"].cpu_file = "fp16.onnx"
    with pytest.raises(ArtifactError, match=r"gives .*fp16\.onnx as int8, and it is fp16"):
        open_engine(artifact, precision="int8")


@without_cuda_provider
def test_graph_of_an_artifact_that_does_not_load_is_named(tmp_path: Path) -> None:
    (tmp_path / "fp32.onnx").write_bytes(b"no graph")
    graphs = {"fp32": GraphRecord(file="fp32.onnx")}
    artifact = seal(tmp_path, Manifest(model="small", graphs=graphs))
    with pytest.raises(EngineLoadError, match=rf"{tmp_path}/fp32\.onnx: ONNX Runtime"):
        open_engine(artifact)


class TestLoneFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "lone.onnx"
        path.write_bytes(make_graph("int8"))
        return path

    def test_precision_comes_from_its_metadata(self, path: Path) -> None:
        with open_engine(path) as engine:
            assert engine.describe().precision == "int8"
        with open_engine(path, precision="int8") as engine:
            assert engine.describe().precision == "int8"

    def test_other_precision(self, path: Path) -> None:
        with pytest.raises(UsageError, match=r"lone.onnx is int8, not fp16"):
            open_engine(path, precision="fp16")

    def test_tensorrt(self, path: Path) -> None:
        with pytest.raises(
            UsageError, match=r"runs serialised engines, and .*lone.onnx is a graph"
        ):
            open_engine(path, backend="tensorrt-rtx")

    def test_damaged_file_is_named(self, path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(EngineLoadError, match=r"lone.onnx: ONNX Runtime [\d.]+ cannot load"):
            open_engine(path)

    def test_missing_file(self, path: Path) -> None:
        with pytest.raises(StorageError, match=r"nowhere.onnx: No such file"):
            open_engine(path.with_name("nowhere.onnx"))


def test_status_lists_every_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    status = {one.backend: one for one in backend_status()}
    assert tuple(status) == BACKENDS
    assert not status["tensorrt"].available
    assert status["tensorrt"].version is None
    assert "fer-edge[tensorrt]" in str(status["tensorrt"].hint)
    cpu = status["onnxruntime-cpu"]
    assert (cpu.version, cpu.can_run, cpu.can_build) == (onnxruntime.__version__, True, False)
    assert cpu.reason is None
    assert status["openvino"].can_run
    assert not status["openvino"].can_build


def test_status_with_and_without_a_gpu(fake_tensorrt: FakeTensorRT) -> None:
    def tensorrt_status() -> list[tuple[bool, bool]]:
        return [(one.can_build, one.can_run) for one in backend_status()[:2]]

    assert tensorrt_status() == [(True, True), (True, True)]
    fake_tensorrt.gpu.count = 0
    assert tensorrt_status() == [(False, False), (True, False)]
    assert "no NVIDIA GPU" in str(backend_status()[1].reason)


def test_artifact_and_its_onnx_agree(
    make_artifact: Callable[..., Artifact], faces: Callable[[int], Faces]
) -> None:
    artifact = make_artifact()
    batch = faces(4)
    with (
        open_engine(artifact, precision="fp32", backend="onnxruntime-cpu") as one,
        open_engine(artifact.folder / "fp32.onnx", backend="onnxruntime-cpu") as other,
    ):
        np.testing.assert_array_equal(one.run(batch), other.run(batch))
