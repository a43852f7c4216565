import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest

from fer_edge.artifact import Artifact, Score
from fer_edge.engines import open_engine, run_all
from fer_edge.engines.integer_products import integer_products
from fer_edge.errors import (
    ArtifactError,
    CalibrationError,
    DataError,
    ExportError,
    UsageError,
)
from fer_edge.export import pipeline
from fer_edge.export.graph.view import (
    copy_of,
    graph_hash,
    load_graph,
    read_contract,
    set_constant,
)
from fer_edge.export.importing.source import Source
from fer_edge.export.pipeline import export_model
from fer_edge.export.quantization.forms.float16 import round_weights
from fer_edge.export.quantization.forms.int8_weights import round_to_int8
from fer_edge.export.targets.engine_plan import BatchRange
from fer_edge.models.carried import carried_model
from tests.export.conftest import run
from tests.export.graphs import activated_graph, plain_graph, unary
from tests.tiny import EIGHT


@pytest.fixture(scope="module")
def source(residual, tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "small.onnx"
    onnx.save(residual, path)
    return path


@pytest.fixture(scope="module")
def artifact(source, faces, tmp_path_factory) -> Artifact:
    out = tmp_path_factory.mktemp("build") / "small"
    return export_model(source, out, precisions=["fp16", "int8"], data=faces, samples=140)


def test_everything_is_written_and_hashed(artifact):
    loaded = Artifact.load(artifact.folder)
    loaded.verify()
    assert set(loaded.manifest.files) == {
        "fp32.onnx",
        "fp16.onnx",
        "int8.onnx",
        "int8.cpu.onnx",
        "calibration.json",
    }


def test_scores_are_what_the_engines_give(artifact, faces):
    for precision, score in artifact.manifest.scores.items():
        with open_engine(artifact, precision=precision, backend="onnxruntime-cpu") as engine:
            labels = run_all(engine, faces.faces).argmax(axis=1)
        assert score.accuracy == pytest.approx((labels == faces.labels).mean())
        assert score.n == len(faces)
        assert score.data == faces.fingerprint
    assert set(artifact.manifest.scores) == {"fp32", "fp16", "int8"}
    assert artifact.manifest.scores["int8"].agreement_with_fp32 > 0.8


def test_both_forms_of_int8_are_compared(artifact, faces):
    labels = [
        run(onnx.load(artifact.folder / name), faces.faces)[0].argmax(axis=1)
        for name in ("int8.onnx", "int8.cpu.onnx")
    ]
    same = (labels[0] == labels[1]).mean()
    assert artifact.manifest.graphs["int8"].cpu_agreement == pytest.approx(same)
    assert same > 0.9


def test_parity_is_recorded(artifact):
    assert 0 < artifact.manifest.parity["fp16"] < 0.01
    assert 0 < artifact.manifest.parity["int8"] < 0.2


def test_a_lone_graph_explains_itself(artifact):
    model = onnx.load(artifact.folder / "int8.cpu.onnx")
    facts = {p.key: p.value for p in model.metadata_props}
    assert facts["fer_edge.model"] == "small"
    assert facts["fer_edge.precision"] == "int8"
    assert facts["fer_edge.form"] == "cpu"
    assert facts["fer_edge.labels"] == "angry,disgust,fear,happy,sad,surprise,neutral"


def test_a_later_export_needs_no_data_and_is_the_same_bit_for_bit(artifact, tmp_path):
    again = export_model(artifact.folder, tmp_path / "again", precisions=["fp16", "int8"])
    for name in ("fp32.onnx", "fp16.onnx", "int8.onnx", "int8.cpu.onnx", "calibration.json"):
        assert again.manifest.files[name] == artifact.manifest.files[name]


def test_a_table_takes_the_place_of_data(artifact, source, tmp_path):
    again = export_model(
        source,
        tmp_path / "again",
        precisions=["int8"],
        calibration=artifact.folder / "calibration.json",
    )
    assert again.manifest.files["int8.onnx"] == artifact.manifest.files["int8.onnx"]


def test_int8_without_ranges_says_what_to_pass(source, tmp_path):
    with pytest.raises(CalibrationError, match="Pass --data FER2013"):
        export_model(source, tmp_path / "out", precisions=["int8"])
    assert not (tmp_path / "out").exists()


def test_half_weights_halve_the_file_and_are_what_is_calibrated(source, residual, faces, tmp_path):
    half = export_model(
        source, tmp_path / "half", precisions=["int8"], data=faces, half_weights=True
    )
    stored = load_graph(half.folder / "fp32.onnx")
    rounded = round_weights(residual)
    np.testing.assert_array_equal(run(stored, faces.faces)[0], run(rounded, faces.faces)[0])
    table = json.loads((half.folder / "calibration.json").read_text())
    assert table["graph"] == graph_hash(rounded)
    again = export_model(half.folder, tmp_path / "again", precisions=["int8"])
    assert again.manifest.files["int8.onnx"] == half.manifest.files["int8.onnx"]


@pytest.fixture(scope="module")
def small(source, faces, tmp_path_factory) -> Artifact:
    out = tmp_path_factory.mktemp("build") / "int8 alone"
    return export_model(
        source, out, precisions=["int8"], data=faces, samples=140, int8_weights=True
    )


def test_int8_weights_leave_one_graph_that_all_others_are_made_of_again(small, residual, tmp_path):
    assert set(small.manifest.graphs) == {"int8"}
    assert set(small.manifest.files) == {"int8.onnx", "int8.cpu.onnx", "calibration.json"}
    again = export_model(small.folder, tmp_path / "again", precisions=["fp16", "int8"])
    assert again.manifest.files["int8.onnx"] == small.manifest.files["int8.onnx"]
    assert again.read("int8.cpu.onnx") == small.read_graph("int8.cpu.onnx")
    float32 = load_graph(again.folder / "fp32.onnx")
    assert graph_hash(float32) == graph_hash(round_to_int8(residual))


def test_the_form_for_cpus_has_its_weights_in_the_graph_of_record(small, faces):
    path = small.folder / "int8.cpu.onnx"
    assert len(small.read("int8.cpu.onnx")) < len(small.read_graph("int8.cpu.onnx")) - 3000
    # What is loaded is both files.
    sizes = [small.manifest.files[name].bytes for name in ("int8.cpu.onnx", "int8.onnx")]
    assert small.size("int8.cpu.onnx") == sum(sizes)
    assert small.size("int8.onnx") == sizes[1]
    options = onnxruntime.SessionOptions()
    integer_products().apply_to(options)
    # As anyone would open it who does not know this project.
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"faces": faces.faces[:, None]})
    with open_engine(path) as engine:
        np.testing.assert_array_equal(run_all(engine, faces.faces), got)


def test_what_int8_weights_cost_is_held_against_the_network_as_it_was(small, residual, faces):
    before = run(residual, faces.faces)[0].argmax(axis=1)
    with open_engine(small, precision="int8", backend="onnxruntime-cpu") as engine:
        answers = {
            "fp32": run(round_to_int8(residual), faces.faces)[0],
            "int8": run_all(engine, faces.faces),
        }
    assert set(small.manifest.scores) == set(answers)
    for precision, score in small.manifest.scores.items():
        same = answers[precision].argmax(axis=1) == before
        assert score.agreement_with_fp32 == pytest.approx(same.mean())
    assert small.manifest.parity["int8_weights"] > 0


def test_int8_that_loses_is_not_left_alone(source, faces, tmp_path, monkeypatch):
    monkeypatch.setattr(Score, "loss_against", lambda _score, _base: "changes 9 % of the labels")
    with pytest.raises(ExportError, match=r"changes 9 % of the labels, and no other graph"):
        export_model(
            *(source, tmp_path / "out"),
            precisions=["int8"],
            data=faces,
            method="minmax",
            int8_weights=True,
        )
    assert not (tmp_path / "out").exists()


def test_an_artifact_of_int8_alone_says_how_float32_is_had(small):
    with pytest.raises(ArtifactError, match=r"no fp32 graph.*fer-edge export .* --out FOLDER"):
        open_engine(small, precision="fp32")


@pytest.mark.parametrize("options", [{"precisions": ["fp16"]}, {"half_weights": True}])
def test_int8_weights_are_those_of_an_int8_graph(options, source, faces, tmp_path):
    with pytest.raises(UsageError, match="Ask for int8"):
        export_model(
            *(source, tmp_path / "out"),
            **({"precisions": ["int8"], "data": faces, "int8_weights": True} | options),
        )


def test_engines_are_built_and_recorded(artifact, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="needs the extra rtx")
    stages = []
    built = export_model(
        artifact.folder,
        tmp_path / "built",
        precisions=["fp16", "int8"],
        backends=["tensorrt-rtx"],
        batch=BatchRange(1, 4, 16),
        progress=lambda stage, done: stages.append((stage, done)),
    )
    assert [e.precision for e in built.manifest.engines] == ["fp16", "int8"]
    for engine in built.manifest.engines:
        assert (engine.min_batch, engine.opt_batch, engine.max_batch) == (1, 4, 16)
        assert built.read(engine.file)
    assert ("Engine tensorrt-rtx int8", 1.0) in stages


@pytest.mark.parametrize("sizes", [(0, 1, 2), (2, 1, 4), (1, 8, 4)])
def test_a_batch_range_out_of_order_is_refused(sizes):
    with pytest.raises(UsageError, match="1 <= min <= opt <= max"):
        BatchRange(*sizes)


def test_a_folder_of_somebody_else_is_left_alone(source, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is not an artifact"):
        export_model(source, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_artifact_is_not_replaced_by_a_part_of_itself(artifact):
    before = (artifact.folder / "manifest.json").read_bytes()
    with pytest.raises(UsageError, match=r"is what is being exported.*another --out"):
        export_model(artifact.folder, artifact.folder / ".." / artifact.folder.name)
    assert (artifact.folder / "manifest.json").read_bytes() == before


def test_ctrl_c_leaves_the_older_artifact_whole(source, faces, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export_model(source, out)

    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "calibrate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_model(source, out, precisions=["int8"], data=faces)
    Artifact.load(out).verify()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_what_has_lost_float32_is_not_exported_again(artifact, precision, tmp_path):
    with pytest.raises(ExportError, match="not a float32 graph"):
        export_model(artifact.folder / f"{precision}.onnx", tmp_path / "out")


def test_a_changed_graph_is_noticed(artifact, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(artifact.folder, copy)
    data = bytearray((copy / "fp32.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "fp32.onnx").write_bytes(data)
    with pytest.raises(ArtifactError, match=r"fp32\.onnx does not match the hash"):
        export_model(copy, tmp_path / "out")


def test_what_float16_cannot_hold_stays_in_float32(residual, tmp_path):
    large = copy_of(residual)
    names = {t.name: t for t in large.graph.initializer}
    weights = onnx.numpy_helper.to_array(names["stem.weight"])
    set_constant(large, "stem.weight", weights * 2e4)
    path = tmp_path / "large.onnx"
    onnx.save(large, path)
    artifact = export_model(path, tmp_path / "out", precisions=["fp16"])
    reasons = artifact.manifest.graphs["fp16"].kept
    assert any("more than float16 can" in reason for reason in reasons.values())
    assert len(reasons) < len(large.graph.node)


def test_the_carried_graphs_come_out_byte_for_byte(tmp_path, monkeypatch):
    """What was proved of them holds for what an export writes today."""
    carried = carried_model("compact")
    # The one thing that a graph says of who wrote it.
    maker = Artifact.load(carried).manifest.versions["fer-edge"]
    monkeypatch.setattr(pipeline, "__version__", maker)
    out = tmp_path / "again"
    export_model(carried, out, precisions=["int8"], half_weights=True)
    for name in ("fp32.onnx", "int8.onnx", "int8.cpu.onnx"):
        assert (out / name).read_bytes() == (carried / name).read_bytes(), name


def test_what_cpus_compute_in_float32_is_told(faces, tmp_path):
    path = tmp_path / "tanh.onnx"
    onnx.save(activated_graph(unary("Tanh")), path)
    made = export_model(path, tmp_path / "out", precisions=["int8"], data=faces, method="minmax")
    record = Artifact.load(made.folder).graph("int8")
    assert record.kept == {}
    assert "no Tanh on integers" in record.cpu_kept["second/tanh"]


def test_what_somebody_elses_network_takes_is_in_manifest_and_metadata(tmp_path):
    origin = Source("theirs", plain_graph(0, EIGHT), contract=EIGHT)
    made = export_model(origin, tmp_path / "out", precisions=["fp16"])
    assert Artifact.load(made.folder).contract == EIGHT
    for record in made.manifest.graphs.values():
        graph = load_graph(made.folder / record.file)
        assert read_contract(graph) == EIGHT
        facts = {p.key: p.value for p in graph.metadata_props}
        assert facts["fer_edge.labels"] == ",".join(EIGHT.labels)
        assert facts["fer_edge.input"].startswith("uint8 grayscale faces (N, 1, 64, 64)")
    again = export_model(made.folder, tmp_path / "again")
    assert again.contract == EIGHT
    assert again.manifest.model == "theirs"


def test_logits_are_not_exported(residual, tmp_path):
    logits = copy_of(residual)
    softmax = logits.graph.node[-1]
    softmax.op_type = "Identity"
    del softmax.attribute[:]
    path = tmp_path / "logits.onnx"
    onnx.save(logits, path)
    with pytest.raises(ExportError, match="are no probabilities") as caught:
        export_model(path, tmp_path / "out")
    assert f"fer-edge import {path} --logits" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_faces_of_another_size_are_refused_before_anything_is_made(faces, tmp_path):
    origin = Source("theirs", plain_graph(0, EIGHT), contract=EIGHT)
    with pytest.raises(DataError, match="These faces are"):
        export_model(origin, tmp_path / "out", precisions=["int8"], data=faces)
    assert not (tmp_path / "out").exists()
