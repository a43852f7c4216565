import pytest

from fer_edge.runtime import recognizer as module
from tests.tiny import FakeEngine


@pytest.fixture
def fake(monkeypatch):
    """Make a Recognizer on a fake engine."""

    def make(batch=64, **settings):
        engine = FakeEngine(**settings)
        monkeypatch.setattr(module, "open_engine", lambda *_args, **_kwargs: engine)
        return engine, module.Recognizer("anything.onnx", batch=batch)

    return make
