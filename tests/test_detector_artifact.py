import pytest

from fer_edge.artifact import Artifact, GraphRecord, Manifest, seal
from fer_edge.detector_artifact import DetectorArtifact, DetectorManifest, seal_detector
from fer_edge.detector_contract import Bucket
from fer_edge.errors import ArtifactError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "fp32-640x480.onnx").write_bytes(b"graph")
    record = GraphRecord(file="fp32-640x480.onnx")
    manifest = DetectorManifest(
        model="tiny",
        weights="0" * 64,
        parameters=1,
        multiply_adds={"640x480": 1},
        graphs={"fp32": {"640x480": record}},
    )
    seal_detector(tmp_path, manifest)
    return tmp_path


def test_what_was_sealed_is_read_again(folder):
    artifact = DetectorArtifact.load(folder)
    artifact.verify()
    assert artifact.buckets == (Bucket(640, 480),)
    assert artifact.read(artifact.graph("fp32", Bucket(640, 480)).file) == b"graph"


def test_what_is_not_there_is_named_with_what_is(folder):
    artifact = DetectorArtifact.load(folder)
    with pytest.raises(ArtifactError, match=r"320x240 pixels \(it has: 640x480\).*--size 320x240"):
        artifact.graph("fp32", Bucket(320, 240))
    with pytest.raises(ArtifactError, match=r"no int8 graph \(it has: fp32\).*--int8"):
        artifact.graph("int8", Bucket(640, 480))


def test_a_damaged_graph_is_told_before_it_runs(folder):
    (folder / "fp32-640x480.onnx").write_bytes(b"grapH")
    artifact = DetectorArtifact.load(folder)
    with pytest.raises(ArtifactError, match=r"does not match the hash.*fer-edge detector"):
        artifact.read("fp32-640x480.onnx")


def test_kinds_are_not_mistaken_for_each_other(folder, tmp_path):
    with pytest.raises(ArtifactError, match="the artifact of a detector, not of a classifier"):
        Artifact.load(folder)
    other = tmp_path / "classifier"
    other.mkdir()
    seal(other, Manifest(model="tiny"))
    with pytest.raises(ArtifactError, match="the artifact of a classifier, not of a detector"):
        DetectorArtifact.load(other)
