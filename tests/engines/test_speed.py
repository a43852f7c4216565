import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fer_edge.artifact import Artifact, Score, SpeedRecord
from fer_edge.engines import open_engine, preference, speed
from fer_edge.engines.preference import prefer, rank
from fer_edge.engines.processor import describe_processor
from fer_edge.engines.speed import fastest, machine_name, measure_speed, remember_speed, summary
from fer_edge.engines.tensorrt import PREFERENCE
from fer_edge.errors import InferenceError, StorageError
from fer_edge.files import CACHE_VARIABLE
from tests.tiny import FakeEngine, tiny_artifact

MACHINE = {"backend": "onnxruntime-cpu", "backend_version": "1.0"}


@pytest.fixture(autouse=True)
def _tuning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(preference.VARIABLE)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(speed, "_in_process", {})


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return tiny_artifact(tmp_path / "artifact", "fp32", "fp16", "int8")


def opener(**seconds: float) -> Callable[[str], FakeEngine]:
    """Opens fake engines that take so long, and notes what was opened."""

    def open_one(precision: str) -> FakeEngine:
        open_one.opened.append(precision)
        engine = FakeEngine(precision=precision, delay=seconds[precision])
        engine.info = replace(engine.info, **MACHINE, device=describe_processor()[0])
        return engine

    open_one.opened = []
    return open_one


def record(**ms: float) -> SpeedRecord:
    return SpeedRecord(
        machine=machine_name(),
        **MACHINE,
        ms={precision: {1: value, 8: 8 * value} for precision, value in ms.items()},
    )


def choose(artifact: Artifact, open_one: Callable[[str], FakeEngine], **options: object) -> tuple:
    return prefer(artifact, ("int8", "fp32"), open_one, **{**MACHINE, **options})


@pytest.mark.parametrize(
    ("ms", "taken"),
    [
        ({"int8": 1.0, "fp32": 2.0}, "int8"),
        ({"int8": 2.0, "fp32": 1.0}, "fp32"),
        ({"int8": 1.04, "fp32": 1.0}, "int8"),  # a tie goes to the smaller file
        ({"int8": 1.06, "fp32": 1.0}, "fp32"),
    ],
)
def test_fastest(ms: dict[str, float], taken: str) -> None:
    assert fastest(record(**ms), ("int8", "fp32")) == taken


def test_summary_names_the_fastest_first() -> None:
    assert summary(record(int8=5.2, fp32=1.6), ("int8", "fp32")) == "fp32 1.6 ms a face, int8 5.2"


def test_precisions_take_turns_at_each_batch_size() -> None:
    open_one = opener(int8=0.03, fp32=0.001)
    steps: list[float] = []
    engines: dict[str, FakeEngine] = {}

    def opened(precision: str) -> FakeEngine:
        return engines.setdefault(precision, open_one(precision))

    measured = measure_speed(opened, ("int8", "fp32"), seconds=0, progress=steps.append)
    assert engines["int8"].batches == engines["fp32"].batches == [1] * 6 + [8] * 6
    assert set(measured.ms["int8"]) == {1, 8}
    assert measured.ms["int8"][1] > measured.ms["fp32"][1] >= 1.0
    assert steps == [0.5, 1.0]


def test_engines_of_one_batch_size_are_timed_at_it() -> None:
    def open_one(precision: str) -> FakeEngine:
        return FakeEngine(precision=precision, min_batch=6, max_batch=6)

    assert set(measure_speed(open_one, ["int8"], seconds=0).ms["int8"]) == {6}


def test_the_first_open_measures_and_the_second_remembers(artifact: Artifact) -> None:
    open_one = opener(int8=0.03, fp32=0.001)
    first = choose(artifact, open_one)
    assert first.order[0] == "fp32"
    assert first.reason.startswith("times here: fp32 ")
    assert open_one.opened == ["int8", "fp32"]
    assert choose(artifact, open_one) == first
    assert choose(Artifact.load(artifact.folder), open_one) == first
    assert len(open_one.opened) == 2, "the cache answers"


@pytest.mark.parametrize("off", ["option", "variable"])
def test_measuring_can_be_turned_off(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, off: str
) -> None:
    if off == "variable":
        monkeypatch.setenv(preference.VARIABLE, "0")
    open_one = opener(int8=0.03, fp32=0.001)
    taken = choose(artifact, open_one, tune=off != "option")
    assert taken.order[0] == "int8"
    assert "fer-edge tune" in taken.reason
    assert open_one.opened == []


def test_the_manifest_of_this_machine_is_believed(artifact: Artifact) -> None:
    artifact.manifest.speeds = [record(int8=3, fp32=1)]
    open_one = opener()
    assert choose(artifact, open_one).order[0] == "fp32"
    assert open_one.opened == []


@pytest.mark.parametrize(
    "other",
    [{"machine": "another, 4 cores"}, {"backend_version": "0.9"}, {"threads": 1}],
)
def test_what_was_measured_elsewhere_is_not_believed(
    artifact: Artifact, other: dict[str, object]
) -> None:
    artifact.manifest.speeds = [record(int8=3, fp32=1).model_copy(update=other)]
    open_one = opener(int8=0.001, fp32=0.03)
    assert choose(artifact, open_one).order[0] == "int8"
    assert open_one.opened == ["int8", "fp32"]


def test_this_users_cache_goes_before_the_manifest(artifact: Artifact) -> None:
    artifact.manifest.speeds = [record(int8=3, fp32=1)]
    assert remember_speed(artifact, record(int8=1, fp32=3)) is not None
    assert choose(artifact, opener()).order[0] == "int8"


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"ms": {"int8": {"1": -1}}}', "\0"])
def test_a_damaged_cache_is_measured_anew(artifact: Artifact, content: str) -> None:
    path = remember_speed(artifact, record(int8=1, fp32=3))
    assert path is not None
    path.write_text(content)
    speed._in_process.clear()
    assert choose(artifact, opener(int8=0.03, fp32=0.001)).order[0] == "fp32"
    assert json.loads(path.read_text())["ms"].keys() == {"int8", "fp32"}


def test_a_cache_that_cannot_be_written_measures_once_a_process(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "below"))
    assert remember_speed(artifact, record(int8=3, fp32=1)) is None
    open_one = opener()
    assert choose(artifact, open_one).order[0] == "fp32"
    assert open_one.opened == []


def test_a_cache_that_cannot_be_looked_into_is_none(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(path: Path, *_: object) -> None:
        raise StorageError(f"Cannot access {path}: Permission denied.")

    def is_file(_: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(speed, "write_text", locked)
    monkeypatch.setattr(Path, "is_file", is_file)
    assert remember_speed(artifact, record(int8=3, fp32=1)) is None


def test_another_graph_for_cpus_is_measured_anew(artifact: Artifact) -> None:
    manifest = artifact.manifest
    manifest.graphs["int8"].cpu_file = "int8.cpu.onnx"
    manifest.files["int8.cpu.onnx"] = manifest.files[manifest.graphs["int8"].file]
    remember_speed(artifact, record(int8=1, fp32=3))
    manifest.files["int8.cpu.onnx"] = manifest.files["int8.cpu.onnx"].model_copy(
        update={"sha256": "0" * 64}
    )
    open_one = opener(int8=0.001, fp32=0.03)
    choose(artifact, open_one)
    assert open_one.opened == ["int8", "fp32"]


def test_a_precision_that_loses_more_than_noise_is_out(artifact: Artifact) -> None:
    common = {"split": "val", "n": 3589, "standard_error": 0.008, "macro_f1": 0.6}
    common |= {"recall": {}, "backend": "x", "data": "y"}
    artifact.manifest.scores = {
        "fp32": Score(accuracy=0.70, **common),
        "int8": Score(accuracy=0.66, mcnemar_p=0.001, **common),
    }
    artifact.manifest.speeds = [record(int8=1, fp32=3)]
    taken = choose(artifact, opener())
    assert taken == (("fp32",), "int8 loses 4.00 points of val (McNemar's p 0.001)")
    artifact.manifest.scores["int8"].mcnemar_p = 0.06
    assert choose(artifact, opener()).order[0] == "int8"
    artifact.manifest.scores["int8"].mcnemar_p = None
    assert choose(artifact, opener()).order[0] == "int8"


def test_a_precision_that_changes_many_labels_is_out_however_they_cancel(
    artifact: Artifact,
) -> None:
    common = {"split": "val", "n": 3589, "standard_error": 0.008, "macro_f1": 0.6}
    common |= {"recall": {}, "backend": "x", "data": "y"}
    artifact.manifest.scores = {
        "fp32": Score(accuracy=0.6018, **common),
        "int8": Score(accuracy=0.6020, mcnemar_p=0.9, agreement_with_fp32=0.8677, **common),
    }
    artifact.manifest.speeds = [record(int8=1, fp32=3)]
    assert choose(artifact, opener()) == (("fp32",), "int8 changes 13.2 % of the labels")
    artifact.manifest.scores["int8"].agreement_with_fp32 = 0.95
    assert choose(artifact, opener()).order[0] == "int8"


def test_an_engine_that_fails_while_it_is_timed_tells(artifact: Artifact) -> None:
    class Broken(FakeEngine):
        def run(self, faces: np.ndarray) -> np.ndarray:
            raise InferenceError(f"no memory for {len(faces)}")

    with pytest.raises(InferenceError, match="no memory for 1"):
        choose(artifact, lambda precision: Broken(precision=precision))


def test_open_engine_says_what_it_went_by(artifact: Artifact) -> None:
    with open_engine(artifact, backend="onnxruntime-cpu") as engine:
        info = engine.describe()
    assert "ms a face" in str(info.choice)
    with open_engine(artifact, backend="onnxruntime-cpu", precision="fp16") as engine:
        assert engine.describe().choice is None


class TestSerialisedEngines:
    """By what an export or a tuning recorded, since loading them takes seconds."""

    OPTIONS: ClassVar = {"backend_version": "10.3.0", "device": "Fake GPU"}

    @staticmethod
    def timed(backend: str, **ms: float) -> SpeedRecord:
        return SpeedRecord(
            machine=machine_name("Fake GPU"),
            backend=backend,
            backend_version="10.3.0",
            ms={precision: {1: value} for precision, value in ms.items()},
        )

    def test_fp16_that_is_faster_than_int8_goes_first(self, artifact: Artifact) -> None:
        artifact.manifest.speeds = [self.timed("tensorrt", int8=0.5, fp16=0.3)]
        preference = rank(artifact, ("int8", "fp16"), backend="tensorrt", **self.OPTIONS)
        assert preference.order == ("fp16", "int8")
        assert preference.reason == "times here: fp16 0.3 ms a face, int8 0.5"

    def test_another_gpu_is_another_machine(self, artifact: Artifact) -> None:
        artifact.manifest.speeds = [self.timed("tensorrt", int8=0.5, fp16=0.3)]
        options = self.OPTIONS | {"device": "Another GPU"}
        preference = rank(artifact, ("int8", "fp16"), backend="tensorrt", **options)
        assert preference.order == ("int8", "fp16")
        assert "fer-edge tune" in preference.reason


def test_tensorrt_rtx_takes_fp16_until_int8_was_timed() -> None:
    order = PREFERENCE["tensorrt-rtx"]
    assert order.index("fp16") < order.index("int8")
