import json

import numpy as np
import pytest

from fer_edge.errors import CalibrationError
from fer_edge.export.graph.view import copy_of, set_constant
from fer_edge.export.quantization.table import CalibrationTable
from tests.export.graphs import residual_graph


def test_table_round_trip(residual_table, tmp_path):
    residual_table.save(tmp_path / "calibration.json")
    assert CalibrationTable.load(tmp_path / "calibration.json") == residual_table


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"scales": 3}'])
def test_what_is_no_table_is_refused(content, tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(CalibrationError, match=r"calibration\.json is not a calibration table"):
        CalibrationTable.load(path)


def test_a_table_of_another_model_is_refused_by_tensor(plain, residual_table):
    with pytest.raises(CalibrationError, match="differ at"):
        residual_table.check(plain)


def test_a_table_of_other_weights_is_refused(residual_table):
    with pytest.raises(CalibrationError, match="residual: stem is the first layer that differs"):
        residual_table.check(residual_graph(seed=1))


def test_one_changed_layer_is_named(residual, residual_table):
    other = copy_of(residual)
    set_constant(other, "two.a.bias", np.zeros(16, np.float32))
    with pytest.raises(CalibrationError, match=r"two\.a is the first layer that differs"):
        residual_table.check(other)


def test_a_table_of_a_version_that_quantised_other_tensors(residual, residual_table):
    scales = {name: scale for name, scale in residual_table.scales.items() if name != "average"}
    older = residual_table.model_copy(update={"scales": scales})
    with pytest.raises(CalibrationError, match=r"another version of fer-edge.* differ at average"):
        older.check(residual)


def test_a_kept_layer_that_there_is_not_is_named(residual, residual_table):
    table = residual_table.model_copy(update={"kept": {"three": "a reason"}})
    with pytest.raises(CalibrationError, match="keeps three in floating point"):
        table.check(residual)


def test_a_table_of_before_exponents_is_read_unless_its_graph_was_equalised(residual_table):
    fields = json.loads(residual_table.model_dump_json())
    del fields["exponents"], fields["zero_points"], fields["reach"]
    older = CalibrationTable.parse(json.dumps({**fields, "equalised": False}).encode(), "here")
    assert older.scales == residual_table.scales
    assert older.reach == 255 / 127
    with pytest.raises(CalibrationError, match="here is not a calibration table: equalised"):
        CalibrationTable.parse(json.dumps({**fields, "equalised": True}).encode(), "here")


@pytest.mark.parametrize("field", ["exponents", "shifts"])
@pytest.mark.parametrize(
    ("layer", "says"), [("stem", "stem, which has 8"), ("x", "x, which has no")]
)
def test_values_that_do_not_fit_the_channels_are_named(
    field, layer, says, residual, residual_table
):
    table = residual_table.model_copy(update={field: {layer: [0, 0]}})
    with pytest.raises(CalibrationError, match=f"has 2 values for {says} channels"):
        table.check(residual)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scales", {"pool": 0}),
        ("scales", {"pool": "inf"}),
        ("zero_points", {"one.b": 256}),
        ("reach", 0),
        ("reach", 1e300),
        ("exponents", {"stem": [5000] * 8}),
        ("shifts", {"stem": ["nan"] * 8}),
    ],
)
def test_values_out_of_range_are_named(field, value, residual_table):
    fields = json.loads(residual_table.model_dump_json()) | {field: value}
    with pytest.raises(CalibrationError, match=f"here is not a calibration table: {field}"):
        CalibrationTable.parse(json.dumps(fields).encode(), "here")


@pytest.mark.parametrize("tensor", ["one.add/relu", "three"])
def test_a_zero_point_of_a_tensor_that_both_forms_quantise_is_refused(
    tensor, residual, residual_table
):
    table = residual_table.model_copy(update={"zero_points": {tensor: 9}})
    with pytest.raises(CalibrationError, match=f"a zero point for {tensor}"):
        table.check(residual)
