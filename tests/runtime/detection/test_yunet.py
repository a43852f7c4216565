import sys
from pathlib import Path

import pytest

from fer_edge.errors import MissingDependencyError, ModelError
from fer_edge.runtime import YuNet


def test_yunet_files_that_are_none(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    with pytest.raises(ModelError, match="no file"):
        YuNet(tmp_path / "yunet.onnx")
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="not a model that OpenCV finds faces with"):
        YuNet(tmp_path / "a.onnx")


def test_opencv_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependencyError, match=r"fer-edge\[camera\]"):
        YuNet("yunet.onnx")
