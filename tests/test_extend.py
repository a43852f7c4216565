"""What the page on adding things says, done."""

import re
import textwrap
from pathlib import Path

import pytest

from tests.moments import moment, seen

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "how-to" / "extend.md").read_text()
BLOCKS = [
    textwrap.dedent(block)
    for block in re.findall(r"^ *```python\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)
]


def run(block: str) -> dict:
    names: dict = {"__name__": "page"}
    exec(block, names)
    return names


def test_the_page_has_a_block_of_each() -> None:
    network, entry, calibrator, sink = BLOCKS
    assert "def tiny" in network
    assert entry.startswith("ModelSpec(")
    assert "@calibrator" in calibrator
    assert "class Counter" in sink


def test_every_file_that_it_names_is_there() -> None:
    named = re.findall(r"`((?:fer_edge|tests)/[\w/.]+)`", PAGE)
    named += [path.removeprefix("../../") for path in re.findall(r"\]\((\.\./\.\./[^)#]+)", PAGE)]
    new = {"fer_edge/models/tiny.py", "fer_edge/export/quantization/calibrators/half.py"}
    assert new < set(named)
    for path in set(named) - new:
        assert (ROOT / path).exists(), path
    for path in new:
        assert (ROOT / path).parent.is_dir()


def test_the_network_can_be_built_and_trained_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="needs pip install 'fer-edge[train]'")
    import sys
    from types import ModuleType

    from fer_edge.models import MODELS, ModelSpec, build_model

    module = ModuleType("fer_edge.models.tiny")
    exec(BLOCKS[0], module.__dict__)
    monkeypatch.setitem(sys.modules, "fer_edge.models.tiny", module)
    spec = eval(BLOCKS[1].strip().rstrip(","), {"ModelSpec": ModelSpec})
    monkeypatch.setitem(MODELS, spec.name, spec)
    registry = pytest.importorskip("tests.models.test_registry")
    registry.test_every_model_turns_faces_into_seven_logits(build_model, "tiny")
    registry.test_every_model_takes_larger_faces(build_model, "tiny")
    registry.test_those_made_for_colour_take_it(build_model, "tiny")
    network = build_model("tiny").eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 1, 48, 48)).shape == (2, 7)
    assert isinstance(network.get_submodule(spec.first_convolution), torch.nn.Conv2d)


def test_the_calibrator_gives_a_magnitude() -> None:
    pytest.importorskip("onnx", reason="needs pip install 'fer-edge[export]'")
    import numpy as np

    from fer_edge.export.quantization.magnitudes import Magnitudes

    magnitudes = Magnitudes()
    magnitudes.add(np.array([1.0, -6.0], np.float32))
    assert run(BLOCKS[2])["half"](magnitudes) == 3


def test_the_sink_counts(capsys: pytest.CaptureFixture[str]) -> None:
    counter = run(BLOCKS[3])["Counter"]()
    counter.show(moment(seen(label=3), seen(label=0)))
    counter.show(moment(seen(label=3)))
    counter.close()
    assert capsys.readouterr().out == "{'happy': 2, 'angry': 1}\n"
