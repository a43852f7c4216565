import json

import pytest

from fer_edge.artifact import Artifact, GraphRecord, Manifest, seal
from fer_edge.errors import ArtifactError
from fer_edge.sealed import MANIFEST


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "build"
    (folder / "engines").mkdir(parents=True)
    (folder / "fp32.onnx").write_bytes(b"graph")
    (folder / "engines" / "fp32.engine").write_bytes(b"engine")
    seal(folder, Manifest(model="tiny", graphs={"fp32": GraphRecord(file="fp32.onnx")}))
    return folder


def edit(folder, **changes):
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_seal_then_load_gives_the_same_manifest(folder):
    (folder / ".hidden").touch()
    manifest = Artifact.load(folder).manifest
    sealed = seal(folder, manifest.model_copy(deep=True)).manifest
    assert set(manifest.files) == {"fp32.onnx", "engines/fp32.engine"}
    assert manifest.files["fp32.onnx"].bytes == 5
    assert Artifact.load(folder).manifest == sealed == manifest
    Artifact.load(folder).verify()


def test_read_gives_the_bytes(folder):
    artifact = Artifact.load(folder)
    assert artifact.read(artifact.graph("fp32").file) == b"graph"


@pytest.mark.parametrize("check", [lambda a: a.read("fp32.onnx"), Artifact.verify])
def test_a_changed_or_missing_file_is_named(folder, check):
    artifact = Artifact.load(folder)
    (folder / "fp32.onnx").write_bytes(b"grapH")
    with pytest.raises(ArtifactError, match=r"fp32\.onnx does not match the hash.*Export tiny"):
        check(artifact)
    (folder / "fp32.onnx").unlink()
    with pytest.raises(ArtifactError, match=r"fp32\.onnx is missing"):
        check(artifact)


def test_a_file_that_the_manifest_does_not_list_is_not_read(folder):
    (folder / "extra.onnx").touch()
    with pytest.raises(ArtifactError, match=r"extra\.onnx is not listed"):
        Artifact.load(folder).read("extra.onnx")


def test_a_precision_that_is_not_there_says_what_is(folder):
    with pytest.raises(ArtifactError, match=r"no int8 graph \(it has: fp32\).*--int8"):
        Artifact.load(folder).graph("int8")


def test_a_missing_fp32_is_not_to_be_had_from_the_artifact(folder):
    edit(folder, graphs={})
    with pytest.raises(ArtifactError, match=r"no fp32 graph \(it has: none\)\. Export the model"):
        Artifact.load(folder).graph("fp32")


def test_no_folder_is_said_to_be_none(tmp_path):
    with pytest.raises(ArtifactError, match=r"There is no .*nowhere"):
        Artifact.load(tmp_path / "nowhere")


def test_a_folder_without_manifest_is_not_an_artifact(tmp_path):
    with pytest.raises(ArtifactError, match=r"no manifest\.json.*fer-edge export"):
        Artifact.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"[]", b"{}", b'{"schema_version": 1}'],
    ids=["empty", "cut", "binary", "deep", "list", "object", "no-model"],
)
def test_what_is_not_a_manifest_is_refused(folder, content):
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        Artifact.load(folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schema_version": 2}, "schema version 2, this fer-edge reads 1"),
        ({"labels": ["happy", "angry"]}, r"2 labels \(happy, angry\) for 7 outputs"),
        ({"input": {"color": "rgb"}}, r"input\.color is rgb, not grayscale"),
        ({"input": {"dtype": "float32"}}, r"input\.dtype is float32, not uint8"),
        ({"input": {"shape": ["batch", 1, 48, 64]}}, "faces are not"),
        ({"input": {"shape": ["batch", 1, 4, 4]}}, "faces of 4 pixels"),
        ({"input": {"shape": ["batch", 3, 48, 48]}}, r"input\.color is grayscale, not rgb"),
        ({"graphs": {"int4": {"file": "int4.onnx"}}}, "damaged: graphs"),
        ({"colour": "blue"}, "damaged: colour"),
        ({"graphs": {"int8": {"file": "x.onnx"}}}, r"it names x\.onnx, and has no hash"),
        ({"files": {}}, r"it names fp32\.onnx, and has no hash"),
    ],
)
def test_a_manifest_for_something_else_is_refused(folder, changes, says):
    edit(folder, **changes)
    with pytest.raises(ArtifactError, match=says):
        Artifact.load(folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"schema_version": 2}, "schema version 2"), ({"timings": {}}, "timings: Extra inputs")],
)
def test_an_artifact_of_a_newer_version_is_not_called_damaged(folder, changes, says):
    edit(folder, versions={"fer-edge": "99.1.0"}, **changes)
    with pytest.raises(
        ArtifactError, match=rf"made by fer-edge 99\.1\.0.*{says}.*Install"
    ) as caught:
        Artifact.load(folder)
    assert "damaged" not in str(caught.value)


def test_an_artifact_of_a_newer_version_that_can_be_read_is(folder):
    edit(folder, versions={"fer-edge": "99.1.0"})
    assert Artifact.load(folder).manifest.versions == {"fer-edge": "99.1.0"}


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../../x", "..\\x", "C:/x", "", ".", "a\0b"]
)
def test_names_that_lead_out_of_the_folder_are_refused(folder, name):
    record = {"bytes": 1, "sha256": "0" * 64}
    for changes in (
        {"files": {name: record}},
        {"graphs": {"fp32": {"file": name}}},
        {"graphs": {"fp32": {"file": "fp32.onnx", "cpu_file": name}}},
        {"calibration": {"file": name, "method": "minmax", "samples": 1, "data": "x"}},
    ):
        edit(folder, **{"files": {}, "graphs": {}, "calibration": None} | changes)
        with pytest.raises(ArtifactError, match="not a path inside the artifact"):
            Artifact.load(folder)
