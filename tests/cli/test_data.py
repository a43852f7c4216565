import json
from pathlib import Path

import pytest

from fer_edge.data import load_dataset
from fer_edge.data.report import DataReport, flagged

from .conftest import Command, write_csv


@pytest.fixture
def copied(tmp_path: Path, fer_lines: list[str]) -> Path:
    """The csv with one training face repeated."""
    return write_csv(tmp_path / "fer2013.csv", [*fer_lines, fer_lines[0]])


def test_tables_by_default(fer_edge: Command, exported: Path, copied: Path) -> None:
    result = fer_edge("data", copied, "--model", exported)
    assert (result.code, result.err) == (0, "")
    for word in ("surprise", "brightness", "cross-split", "mislabelled", "copies in"):
        assert word in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_json_report_and_page_tell_the_same(
    fer_edge: Command, exported: Path, copied: Path, tmp_path: Path
) -> None:
    out, page = tmp_path / "new" / "report.json", tmp_path / "report.html"
    files = ("--out", out, "--page", page)
    result = fer_edge("data", copied, "--model", exported, "--json", *files)
    told = json.loads(result.out)
    assert told == json.loads(out.read_text())
    assert told["source"] == "fer2013.csv"
    assert list(told["splits"]) == ["train", "val"]
    assert page.read_text().startswith("<!DOCTYPE html>")
    train = load_dataset(copied, "train")
    assert flagged(DataReport.load(out), train, ["duplicate"])[70]


def test_without_a_model_nothing_is_mislabelled(fer_edge: Command, copied: Path) -> None:
    result = fer_edge("data", copied, "--no-model")
    assert result.code == 0
    assert "islabelled" not in result.out


def test_the_carried_model_is_the_default(fer_edge: Command, copied: Path) -> None:
    assert json.loads(fer_edge("data", copied, "--json").out)["model"] == "compact"


def test_bad_data_is_named(fer_edge: Command, bad_data: tuple[Path, str]) -> None:
    path, says = bad_data
    error = fer_edge("data", path, "--no-model").error()
    assert says in error
    assert str(path) in error


def test_a_bad_model_is_met_before_the_data_is_read(fer_edge: Command) -> None:
    assert "There is no nowhere" in fer_edge("data", "missing", "--model", "nowhere").error()


def test_a_model_and_none_exclude_each_other(fer_edge: Command, exported: Path) -> None:
    error = fer_edge("data", "missing", "--model", exported, "--no-model").error(2)
    assert "--no-model and --model exclude each other" in error
