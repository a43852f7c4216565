"""Repositories for Triton, held against Triton's own description of its configuration."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import onnxruntime
import pytest

from fer_edge.artifact import Artifact, EngineRecord, seal
from fer_edge.errors import ArtifactError, UsageError
from fer_edge.export.graph.shared_weights import share_weights
from fer_edge.export.targets.triton import write_repository
from fer_edge.models.carried import carried_model
from tests.tiny import CONTRACTS, tiny_artifact


@pytest.fixture(scope="module")
def protocol() -> ModuleType:
    """Of tritonclient, the module of messages alone: its package wants gRPC."""
    text_format = pytest.importorskip("google.protobuf", reason="needs protobuf")
    del text_format
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        pytest.skip("needs pip install 'tritonclient[http]'")
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(protocol: ModuleType, folder: Path) -> Any:
    """A configuration; raises where Triton knows no such field, type or kind."""
    from google.protobuf import text_format

    text = (folder / "config.pbtxt").read_text()
    return text_format.Parse(text, protocol.ModelConfig())


def built(folder: Path, backend: str, **changes: Any) -> Artifact:
    """A tiny artifact that has an engine, too, of a few bytes."""
    artifact = tiny_artifact(folder, "fp32", "int8")
    (folder / "engines").mkdir()
    (folder / "engines" / "a.engine").write_bytes(b"plan")
    facts = {"min_batch": 1, "opt_batch": 8, "max_batch": 32, **changes}
    artifact.manifest.engines.append(
        EngineRecord(
            file="engines/a.engine",
            backend=backend,
            backend_version="10.3",
            precision="int8",
            gpu="a",
            **facts,
        )
    )
    return seal(folder, artifact.manifest)


def test_a_graph_is_whole_in_the_repository(tmp_path: Path) -> None:
    source = Artifact.load(carried_model())
    folder = tmp_path / "shared"
    shutil.copytree(source.folder, folder)
    path = folder / "int8.cpu.onnx"
    whole = path.read_bytes()
    graph = onnx.load_model_from_string(whole)
    shared = share_weights(graph, (folder / "int8.onnx").read_bytes(), "int8.onnx")
    path.write_bytes(shared.SerializeToString(deterministic=True))
    assert path.stat().st_size < len(whole) / 5
    names = write_repository(seal(folder, source.manifest), tmp_path / "repository")
    (name,) = (name for name in names if name.endswith("_cpu"))
    written = (tmp_path / "repository" / name / "1" / "model.onnx").read_bytes()
    assert onnx.load_model_from_string(written) == graph


def test_the_carried_model_as_triton_reads_it(protocol: ModuleType, tmp_path: Path) -> None:
    artifact = Artifact.load(carried_model())
    names = write_repository(artifact, tmp_path / "repository", max_batch=32)
    assert names == ["compact_fp32", "compact_int8", "compact_int8_cpu"]
    for name in names:
        folder = tmp_path / "repository" / name
        config = read(protocol, folder)
        assert config.name == name
        assert (config.backend, config.max_batch_size) == ("onnxruntime", 32)
        assert config.dynamic_batching.max_queue_delay_microseconds == 2000
        policy = config.dynamic_batching.default_queue_policy
        assert policy.timeout_action == protocol.ModelQueuePolicy.REJECT
        assert policy.max_queue_size == 512
        (group,) = config.instance_group
        kind = "KIND_CPU" if name.endswith("_cpu") else "KIND_AUTO"
        assert group.kind == protocol.ModelInstanceGroup.Kind.Value(kind)
        assert [one.batch_size for one in config.model_warmup] == [1, 32]
        (output,) = config.output
        labels = (folder / output.label_filename).read_text().splitlines()
        assert labels == list(artifact.contract.labels)
        # What it says of the graph is what the graph says.
        session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
        for told, node in (
            (config.input[0], session.get_inputs()[0]),
            (output, session.get_outputs()[0]),
        ):
            assert told.name == node.name
            assert list(told.dims) == node.shape[1:]
            dtype = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}[node.type]
            assert told.data_type == protocol.DataType.Value(dtype)
        for warm in config.model_warmup:
            assert list(warm.inputs["faces"].dims) == list(config.input[0].dims)
            assert warm.inputs["faces"].zero_data


def test_fp8_is_not_optimised(protocol: ModuleType, tmp_path: Path) -> None:
    write_repository(tiny_artifact(tmp_path / "a", "fp32", "fp8"), tmp_path / "repository")
    levels = {
        one.name: read(protocol, one).optimization.graph.level
        for one in (tmp_path / "repository").iterdir()
    }
    assert levels == {"tiny_fp32": 0, "tiny_fp8": 2}


@pytest.mark.parametrize("contract", CONTRACTS, ids=str)
def test_networks_of_somebody_else(protocol: ModuleType, tmp_path: Path, contract: Any) -> None:
    artifact = tiny_artifact(tmp_path / "a", "fp32", contract=contract)
    (name,) = write_repository(artifact, tmp_path / "repository")
    config = read(protocol, tmp_path / "repository" / name)
    assert list(config.input[0].dims) == list(contract.face_shape)
    assert list(config.output[0].dims) == [len(contract.labels)]


def test_plans_of_tensorrt(protocol: ModuleType, tmp_path: Path) -> None:
    names = write_repository(built(tmp_path / "a", "tensorrt"), tmp_path / "repository")
    assert names == ["tiny_fp32", "tiny_int8", "tiny_int8_plan"]
    folder = tmp_path / "repository" / "tiny_int8_plan"
    assert (folder / "1" / "model.plan").read_bytes() == b"plan"
    config = read(protocol, folder)
    assert (config.platform, config.max_batch_size) == ("tensorrt_plan", 32)
    assert list(config.dynamic_batching.preferred_batch_size) == [8, 32]
    (group,) = config.instance_group
    assert group.kind == protocol.ModelInstanceGroup.KIND_GPU


@pytest.mark.parametrize(
    ("backend", "changes"), [("tensorrt-rtx", {}), ("tensorrt", {"min_batch": 4})]
)
def test_engines_that_triton_cannot_run_are_left_out(
    tmp_path: Path, backend: str, changes: dict[str, int]
) -> None:
    names = write_repository(built(tmp_path / "a", backend, **changes), tmp_path / "repository")
    assert names == ["tiny_fp32", "tiny_int8"]


def test_other_peoples_models_stay(tmp_path: Path) -> None:
    artifact = tiny_artifact(tmp_path / "a", "fp32")
    repository = tmp_path / "repository"
    (repository / "theirs").mkdir(parents=True)
    (repository / "theirs" / "config.pbtxt").write_text("name: 'theirs'")
    for _ in range(2):
        assert write_repository(artifact, repository) == ["tiny_fp32"]
    assert sorted(path.name for path in repository.iterdir()) == ["theirs", "tiny_fp32"]
    (repository / "tiny_fp32" / "config.pbtxt").write_text("name: 'theirs'")
    with pytest.raises(UsageError, match="not of fer-edge's making"):
        write_repository(artifact, repository)
    assert (repository / "tiny_fp32" / "config.pbtxt").read_text() == "name: 'theirs'"


def test_a_damaged_artifact_gives_nothing(tmp_path: Path) -> None:
    artifact = tiny_artifact(tmp_path / "a", "fp32")
    (tmp_path / "a" / "fp32.onnx").write_bytes(b"x")
    with pytest.raises(ArtifactError):
        write_repository(artifact, tmp_path / "repository")
    assert not (tmp_path / "repository").exists()
