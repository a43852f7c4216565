from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.external_data_helper import set_external_data

from fer_edge.errors import ArtifactError
from fer_edge.external_data import external_files, read_graph, with_external_data
from tests.export.conftest import run
from tests.export.graphs import residual_graph

FACES = np.random.default_rng(0).integers(0, 256, (5, 1, 48, 48), np.uint8)


@pytest.fixture
def residual() -> onnx.ModelProto:
    return residual_graph()


def apart(model: onnx.ModelProto, file: str) -> tuple[onnx.ModelProto, bytes]:
    """The graph with its weights in a file beside it, and what that file has."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    data = bytearray(b"begins with something else")
    for tensor in out.graph.initializer:
        raw = tensor.raw_data
        set_external_data(tensor, file, len(data), len(raw))
        tensor.ClearField("raw_data")
        data += raw
    return out, bytes(data)


def test_the_bytes_are_put_back(residual: onnx.ModelProto) -> None:
    model, data = apart(residual, "weights.bin")
    asked: list[str] = []

    def read(name: str) -> bytes:
        asked.append(name)
        return data

    whole = onnx.load_model_from_string(with_external_data(model.SerializeToString(), read))
    assert asked == ["weights.bin"]
    assert external_files(model.SerializeToString()) == {"weights.bin"}
    assert whole == residual


def test_a_whole_graph_is_left_as_it_is(residual: onnx.ModelProto) -> None:
    graph = residual.SerializeToString()
    assert with_external_data(graph, lambda name: pytest.fail(name)) is graph
    residual.doc_string = "location"
    graph = residual.SerializeToString()
    assert with_external_data(graph, lambda name: pytest.fail(name)) == graph
    assert external_files(graph) == set()


def test_a_file_with_data_beside_it_runs(residual: onnx.ModelProto, tmp_path: Path) -> None:
    model, data = apart(residual, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(data)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(read_graph(path), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: FACES})
    np.testing.assert_array_equal(got, run(residual, FACES)[0])


def test_tensors_of_constant_nodes_are_put_back(residual: onnx.ModelProto) -> None:
    tensor = onnx.numpy_helper.from_array(np.arange(6, dtype=np.float32))
    data = tensor.raw_data
    set_external_data(tensor, "weights.bin", 0, len(data))
    tensor.ClearField("raw_data")
    residual.graph.node.append(onnx.helper.make_node("Constant", [], ["six"], value=tensor))
    whole = with_external_data(residual.SerializeToString(), lambda _name: data)
    value = onnx.load_model_from_string(whole).graph.node[-1].attribute[0].t
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(value), np.arange(6))


def test_entries_of_data_that_is_inside_do_not_count(residual: onnx.ModelProto) -> None:
    tensor = residual.graph.initializer[0]
    data = tensor.raw_data
    set_external_data(tensor, "gone.bin", 0, len(data))
    tensor.data_location = onnx.TensorProto.DEFAULT
    graph = residual.SerializeToString()
    assert with_external_data(graph, lambda name: pytest.fail(name)) == graph


def test_a_missing_file_is_told_with_what_wants_it(
    residual: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(apart(residual, "weights.bin")[0].SerializeToString())
    with pytest.raises(ArtifactError, match=r"model.onnx has weights in weights.bin, which is not"):
        read_graph(path)


def test_a_cache_of_links_is_followed(residual: onnx.ModelProto, tmp_path: Path) -> None:
    """Hugging Face keeps files as links from snapshots to blobs."""
    model, data = apart(residual, "weights.bin")
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    files = {"model.onnx": model.SerializeToString(), "weights.bin": data}
    for number, (name, content) in enumerate(files.items()):
        (blobs / str(number)).write_bytes(content)
        (snapshot / name).symlink_to(blobs / str(number))
    assert onnx.load_model_from_string(read_graph(snapshot / "model.onnx")) == residual


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("location", "", "wants '', which is no file beside it"),
        ("offset", "abc", "bytes of weights.bin from abc on"),
        ("length", "-1", "wants -1 bytes of weights.bin"),
    ],
)
def test_entries_that_make_no_sense_are_told(
    residual: onnx.ModelProto, tmp_path: Path, key: str, value: str, told: str
) -> None:
    model, data = apart(residual, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(data)
    (entry,) = (e for e in model.graph.initializer[0].external_data if e.key == key)
    entry.value = value
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match=told):
        read_graph(path)


def test_a_number_without_end_is_no_graph() -> None:
    with pytest.raises(ValueError, match="not an ONNX graph"):
        with_external_data(b"\x0a\x08location" + b"\xff" * 10_000_000, lambda _name: b"")


@pytest.mark.parametrize("name", ["../weights.bin", "/etc/passwd", "a/../../weights.bin", "w\0"])
def test_a_graph_gets_nothing_from_outside_its_folder(
    residual: onnx.ModelProto, tmp_path: Path, name: str
) -> None:
    model, data = apart(residual, name)
    (tmp_path / "weights.bin").write_bytes(data)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").mkdir()
    path = tmp_path / "in" / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match="is damaged"):
        read_graph(path)


def test_data_that_is_cut_short_is_told(residual: onnx.ModelProto, tmp_path: Path) -> None:
    model, data = apart(residual, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(data[:-1])
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match=rf"weights.bin has {len(data) - 1} bytes, not"):
        read_graph(path)


def test_a_graph_that_is_cut_short_is_told(residual: onnx.ModelProto) -> None:
    model, data = apart(residual, "weights.bin")
    graph = model.SerializeToString()
    for size in range(1, len(graph), 97):
        if b"location" in graph[:size]:
            with pytest.raises(ValueError, match=r"ends in the middle|not an ONNX graph"):
                with_external_data(graph[:size], lambda _name: data)


def test_damaged_bytes_are_an_error_or_a_graph(residual: onnx.ModelProto) -> None:
    model, data = apart(residual, "weights.bin")
    graph = bytearray(model.SerializeToString())
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = graph.copy()
        for place in random.integers(0, len(graph), 5):
            damaged[place] = random.integers(256)
        with suppress(ValueError):
            assert with_external_data(bytes(damaged), lambda _name: data)
