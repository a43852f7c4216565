import sys
from collections.abc import Callable
from dataclasses import replace
from enum import IntFlag
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from fer_edge.artifact import Artifact, EngineRecord, GraphRecord, Manifest, seal
from fer_edge.engines import cuda, open_engine, openvino, serialised
from fer_edge.engines.base import EngineInfo, Faces
from fer_edge.engines.device_name import device_ordinal
from fer_edge.engines.trial import try_backend
from fer_edge.errors import (
    ArtifactError,
    BackendUnavailableError,
    EngineError,
    EngineLoadError,
    StorageError,
    UsageError,
)

from .fakes import FakeRuntime, FakeTensorRT
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
    status = try_backend("openvino")
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


@pytest.mark.parametrize(
    ("capability", "runs"),
    [((7, 5), False), ((8, 0), False), ((8, 6), True), ((9, 0), False), ((12, 0), True)],
)
def test_portable_engine_runs_on_what_nvidia_lists(
    make_artifact: Callable[..., Artifact],
    fake_tensorrt: FakeTensorRT,
    capability: tuple[int, int],
    runs: bool,
) -> None:
    artifact = make_artifact(engine_record(backend="tensorrt-rtx", gpu=None))
    fake_tensorrt.gpu.capability = capability
    with open_engine(artifact) as engine:
        assert (engine.describe().backend == "tensorrt-rtx") == runs
    if not runs:
        has = ".".join(map(str, capability))
        with pytest.raises(
            BackendUnavailableError, match=rf"needs .* one of 8.6, 8.9, 12.0, 12.1, .* has {has}"
        ):
            open_engine(artifact, backend="tensorrt-rtx")


class Validity:
    """The part of TensorRT-RTX that says whether an engine runs."""

    EngineValidity = SimpleNamespace(VALID=0, SUBOPTIMAL=1, INVALID=2)
    EngineInvalidityDiagnostics = IntFlag(
        "EngineInvalidityDiagnostics",
        "VERSION_MISMATCH UNSUPPORTED_CC OLD_CUDA_DRIVER OLD_CUDA_RUNTIME "
        "INSUFFICIENT_GPU_MEMORY MALFORMED_ENGINE CUDA_ERROR",
    )


@pytest.fixture
def validity(
    fake_tensorrt: FakeTensorRT, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int, str, str], None]:
    """Set what the runtime answers: validity, the name of a flag, an error that it logs."""
    runtime = fake_tensorrt.Runtime

    def answer(validity: int, flag: str = "", error: str = "") -> None:
        def get(self: FakeRuntime, plan: bytes) -> tuple[int, int]:
            assert plan == b"plan"
            if error:
                self.logger.log(1, error)
            return validity, Validity.EngineInvalidityDiagnostics[flag].value if flag else 0

        monkeypatch.setattr(FakeRuntime, "get_engine_validity", get, raising=False)

    for name in ("EngineValidity", "EngineInvalidityDiagnostics"):
        monkeypatch.setattr(fake_tensorrt, name, getattr(Validity, name), raising=False)

    class Runtime:
        get_engine_validity = True

        def __new__(cls, logger: object) -> FakeRuntime:  # type: ignore[misc]
            return runtime(logger)

    monkeypatch.setattr(fake_tensorrt, "Runtime", Runtime)
    return answer


def test_the_runtime_has_the_last_word_on_a_gpu(
    make_artifact: Callable[..., Artifact],
    fake_tensorrt: FakeTensorRT,
    validity: Callable[..., None],
) -> None:
    artifact = make_artifact(engine_record(backend="tensorrt-rtx", gpu=None))
    fake_tensorrt.gpu.capability = (9, 0)
    validity(0)
    with open_engine(artifact) as engine:
        assert engine.describe().backend == "tensorrt-rtx"
    fake_tensorrt.gpu.capability = (8, 6)
    validity(2, "UNSUPPORTED_CC")
    with open_engine(artifact) as engine:
        info = engine.describe()
    assert info.backend == "onnxruntime-cpu"
    assert "does not support this GPU" in info.passed_over[0]


@pytest.mark.parametrize(
    ("flag", "error", "says"),
    [
        ("OLD_CUDA_DRIVER", "", r"built beside a newer NVIDIA driver.*Install a newer driver, or"),
        ("VERSION_MISMATCH", "", r"built by another version.*fer-edge export"),
        ("MALFORMED_ENGINE", "", r"it is damaged.*fer-edge export"),
        ("INSUFFICIENT_GPU_MEMORY", "", r"too little memory.*smaller --batch"),
        (
            "",
            "Error reading CUDA GPU properties: In getCurrentCC at /_src/runtime/dispatch/"
            "planHeaders.cpp:130 (cudaError 35: CUDA driver version is insufficient for CUDA "
            "runtime version) Ensure that the GPU driver is installed and up to date.",
            r"driver is too old for tensorrt-rtx 10.3.0 \(CUDA error 35\)",
        ),
    ],
)
def test_why_the_runtime_refuses(
    make_artifact: Callable[..., Artifact],
    validity: Callable[..., None],
    flag: str,
    error: str,
    says: str,
) -> None:
    validity(2, flag, error)
    with pytest.raises(EngineError, match=says) as caught:
        open_engine(
            make_artifact(engine_record(backend="tensorrt-rtx", gpu=None)), backend="tensorrt-rtx"
        )
    assert isinstance(caught.value, BackendUnavailableError) == bool(error)


@without_cuda_provider
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"refusal": "Unsupported SM: 0x900"}, "Unsupported SM"),
        ({"starts": False}, "driver is too old"),
        ({"context_works": False}, "cannot make an execution context"),
        ({"execution_works": False}, "TensorRT failed on 2 faces"),
    ],
)
def test_auto_goes_on_and_says_why(
    make_artifact: Callable[..., Artifact],
    fake_tensorrt: FakeTensorRT,
    faces: Callable[[int], Faces],
    fault: dict[str, object],
    says: str,
) -> None:
    vars(fake_tensorrt).update(fault)
    artifact = make_artifact(
        engine_record(file="engines/a", precision="int8"), engine_record(file="engines/b")
    )
    with open_engine(artifact) as engine:
        info = engine.describe()
        assert engine.run(faces(6)).shape == (6, 7)
    assert (info.backend, info.file) == ("onnxruntime-cpu", "int8.cpu.onnx")
    assert [reason.partition(":")[0] for reason in info.passed_over] == ["engines/a", "engines/b"]
    assert all(says in reason for reason in info.passed_over)
    with pytest.raises(EngineError, match=says):
        open_engine(artifact, backend="tensorrt")


def test_auto_takes_the_next_engine(
    make_artifact: Callable[..., Artifact],
    fake_tensorrt: FakeTensorRT,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    artifact = make_artifact(
        engine_record(file="engines/a", precision="int8"), engine_record(file="engines/b")
    )
    read = Artifact.read

    def refused_at_first(self: Artifact, name: str) -> bytes:
        fake_tensorrt.refusal = "Unsupported SM: 0x900" if name == "engines/a" else None
        return read(self, name)

    monkeypatch.setattr(Artifact, "read", refused_at_first)
    for backend in ("auto", "tensorrt"):
        with open_engine(artifact, backend=backend) as engine:
            info = engine.describe()
        assert (info.precision, info.file) == ("fp16", "engines/b")
        (reason,) = info.passed_over
        assert reason.startswith("engines/a: ")


@without_cuda_provider
def test_nothing_is_passed_over_where_there_is_nothing_to_take(
    make_artifact: Callable[..., Artifact],
) -> None:
    with open_engine(make_artifact()) as engine:
        assert engine.describe().passed_over == ()


class TestDevice:
    def test_names(self) -> None:
        assert [device_ordinal(name) for name in ("cpu", "cuda", "cuda:0", "cuda:3")] == [
            None,
            0,
            0,
            3,
        ]

    @pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "1", ""])
    def test_what_is_none(self, name: str, make_artifact: Callable[..., Artifact]) -> None:
        with pytest.raises(UsageError, match=f"Unknown device {name!r}. Take auto, cpu, cuda or"):
            open_engine(make_artifact(), device=name)

    @pytest.mark.usefixtures("fake_tensorrt")
    def test_the_cpu_passes_over_every_gpu(self, make_artifact: Callable[..., Artifact]) -> None:
        with open_engine(make_artifact(engine_record()), device="cpu") as engine:
            info = engine.describe()
        assert (info.backend, info.passed_over) == ("onnxruntime-cpu", ())

    @pytest.mark.parametrize(
        ("backend", "device"),
        [("tensorrt", "cpu"), ("onnxruntime-cpu", "cuda"), ("openvino", "cuda:1")],
    )
    def test_backend_that_does_not_run_there(
        self, make_artifact: Callable[..., Artifact], backend: str, device: str
    ) -> None:
        with pytest.raises(UsageError, match=f"{backend} does not run on {device}"):
            open_engine(make_artifact(), backend=backend, device=device)

    @pytest.mark.usefixtures("fake_tensorrt")
    def test_a_gpu_that_is_not_there_is_no_cpu(
        self, make_artifact: Callable[..., Artifact]
    ) -> None:
        artifact = make_artifact(engine_record())
        for backend in ("auto", "tensorrt"):
            with pytest.raises(BackendUnavailableError, match="no cuda:1: its last GPU is cuda:0"):
                open_engine(artifact, backend=backend, device="cuda:1")

    def test_the_gpu_that_is_named_gets_the_engine(
        self,
        make_artifact: Callable[..., Artifact],
        fake_tensorrt: FakeTensorRT,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        fake_tensorrt.gpu.count = 2
        opened: list[int] = []

        class Engine:
            def __init__(
                self, _: bytes, backend: str, *, precision: str, device: int, **_labels: object
            ) -> None:
                opened.append(device)
                self.info = EngineInfo(backend, "10.3.0", precision, "Fake GPU", 1, None)

            def describe(self) -> EngineInfo:
                return self.info

            def add_facts(self, **facts: object) -> None:
                self.info = replace(self.info, **facts)

        monkeypatch.setattr(serialised, "TensorRTEngine", Engine)
        artifact = make_artifact(engine_record())
        for device in ("auto", "cuda", "cuda:1"):
            open_engine(artifact, device=device)
        assert opened == [0, 0, 1]


def test_tensorrt_rtx_is_asked_of_the_gpu_that_is_named(
    make_artifact: Callable[..., Artifact],
    fake_tensorrt: FakeTensorRT,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_tensorrt.gpu.count = 2
    asked: list[int] = []

    def refuse(_: bytes) -> None:
        asked.append(fake_tensorrt.gpu.current())
        raise EngineLoadError("not for this GPU")

    monkeypatch.setattr(serialised, "check_validity", refuse)
    monkeypatch.setattr(serialised, "RTX_PORTABLE", [cuda.compute_capability()])
    artifact = make_artifact(engine_record(backend="tensorrt-rtx", gpu=None))
    for device in ("cuda", "cuda:1"):
        with pytest.raises(EngineLoadError, match="not for this GPU"):
            open_engine(artifact, device=device, backend="tensorrt-rtx")
    assert asked == [0, 1]


@pytest.mark.usefixtures("fake_tensorrt")
def test_changed_engine_file_is_never_loaded(make_artifact: Callable[..., Artifact]) -> None:
    artifact = make_artifact(engine_record())
    (artifact.folder / "engines/fp16.plan").write_bytes(b"plans")
    with pytest.raises(ArtifactError, match=r"fp16.plan does not match the hash"):
        open_engine(artifact)


@without_cuda_provider
def test_named_cuda_is_no_fallback(make_artifact: Callable[..., Artifact]) -> None:
    with pytest.raises(
        BackendUnavailableError, match=r"pip install 'onnxruntime-gpu\[cuda,cudnn\]'"
    ):
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
