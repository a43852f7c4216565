"""Scores by group: what the csv says, what intervals cover, what is too few to tell."""

from pathlib import Path

import numpy as np
import pytest

from fer_edge.data import FaceDataset
from fer_edge.errors import DataError
from fer_edge.evaluation.groups import audit, read_groups

N = 400
RNG = np.random.default_rng(4)
LABELS = RNG.integers(0, 7, N)
DATASET = FaceDataset.from_arrays(
    np.zeros((N, 48, 48), np.uint8),
    LABELS,
    "val",
    names=np.array([f"val/happy/{i}.jpg" for i in range(N)]),
)
OLD = np.arange(N) < 150


def answers(right: np.ndarray) -> np.ndarray:
    """Probabilities that name the true label where ``right``, and the next one elsewhere."""
    return np.eye(7, dtype=np.float32)[(LABELS + ~right) % 7]


def table(path: Path, head: str, lines: list[str]) -> Path:
    path.write_text("\n".join([head, *lines, ""]))
    return path


def test_a_gap_between_groups_is_found_and_called_real(tmp_path) -> None:
    right = np.where(OLD, RNG.random(N) < 0.5, RNG.random(N) < 0.8)
    lines = [f"{i}.jpg,{'old' if OLD[i] else 'young'}" for i in range(N)]
    groups = read_groups(table(tmp_path / "g.csv", "name,age", lines), DATASET)
    found = audit(groups, DATASET, answers(right))
    old, young = found.groups
    assert (old.group, old.n, young.n) == ("old", 150, 250)
    assert old.accuracy == pytest.approx(right[OLD].mean())
    assert old.interval is not None
    assert old.interval[0] < old.accuracy < old.interval[1]
    (gap,) = found.gaps
    assert (gap.best, gap.worst, gap.real) == ("young", "old", True)
    assert found.unnamed == 0


def test_a_difference_by_chance_is_not_called_real(tmp_path) -> None:
    lines = [f"{i}.jpg,{i % 5}x" for i in range(N)]
    groups = read_groups(table(tmp_path / "g.csv", "name,group", lines), DATASET)
    found = audit(groups, DATASET, answers(RNG.random(N) < 0.7))
    # Best and worst of five were picked after looking.
    assert not found.gaps[0].real


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    groups = {"g": np.where(OLD, "old", "young")}
    covered = []
    for _ in range(300):
        found = audit(groups, DATASET, answers(RNG.random(N) < 0.9))
        covered += [g.interval[0] <= 0.9 <= g.interval[1] for g in found.groups if g.interval]
    # 600 trials of 0.95: 4 standard errors of sqrt(0.95 * 0.05 / 600) are 3.6 points.
    assert abs(np.mean(covered) - 0.95) < 0.036


def test_small_groups_are_counted_and_not_scored(tmp_path) -> None:
    lines = [f"{i}.jpg,{'few' if i < 49 else 'many'}" for i in range(N)]
    groups = read_groups(table(tmp_path / "g.csv", "name,group", lines), DATASET)
    few, many = audit(groups, DATASET, answers(np.ones(N, bool))).groups
    assert (few.n, few.accuracy, few.recall) == (49, None, {})
    assert many.accuracy == 1.0
    assert audit(groups, DATASET, answers(np.ones(N, bool)), smallest=10).groups[0].accuracy == 1


def test_numbers_are_cut_at_their_quartiles_and_empty_cells_are_no_group(tmp_path) -> None:
    lines = [f"val/happy/{i}.jpg;{'' if i < 40 else i}" for i in range(N - 10)]
    groups = read_groups(table(tmp_path / "g.csv", "name;age", lines), DATASET)
    found = audit(groups, DATASET, answers(np.ones(N, bool)))
    assert [g.n for g in found.groups] == [88, 87, 87, 88]
    assert found.unnamed == 50


@pytest.mark.parametrize(
    ("head", "line", "says"),
    [
        ("name", "{i}.jpg", "has no groups"),
        ("name,age", "face{i}.png,old", "predictions.csv"),
        ("name,who", "{i}.jpg,person {i}", "400 different values"),
    ],
)
def test_what_cannot_be_is_named(head: str, line: str, says: str, tmp_path) -> None:
    path = table(tmp_path / "g.csv", head, [line.format(i=i) for i in range(N)])
    with pytest.raises(DataError) as caught:
        read_groups(path, DATASET)
    assert says in f"{caught.value.message} {caught.value.hint}"


def test_a_name_of_several_faces_is_refused(tmp_path) -> None:
    names = np.array([f"val/{emotion}/{i}.jpg" for emotion in ("happy", "sad") for i in range(200)])
    doubled = FaceDataset.from_arrays(DATASET.faces, LABELS, "val", names=names)
    lines = [f"{i}.jpg,{i % 2}" for i in range(150)]
    with pytest.raises(
        DataError, match=r"'0\.jpg' may be val/happy/0\.jpg or val/sad/0\.jpg; 150 of"
    ):
        read_groups(table(tmp_path / "g.csv", "name,group", lines), doubled)
    # With folders each has its own; a bare name is then that of the other face alone.
    lines = [f"val/happy/{i}.jpg,a" for i in range(200)] + [f"{i}.jpg,b" for i in range(200)]
    groups = read_groups(table(tmp_path / "g.csv", "name,group", lines), doubled)
    assert groups["group"].tolist() == ["a"] * 200 + ["b"] * 200


def test_quarters_of_large_numbers_are_told_apart(tmp_path) -> None:
    lines = [f"{i}.jpg,{1_700_000_000 + i}" for i in range(N)]
    groups = read_groups(table(tmp_path / "g.csv", "name,taken", lines), DATASET)
    names, counts = np.unique(groups["taken"], return_counts=True)
    assert list(counts) == [100] * 4
    assert names[0] == "1700000000 to 1700000100"
    found = audit(groups, DATASET, answers(np.ones(N, bool))).groups
    assert [group.group for group in found] == list(names)


def test_a_name_in_several_lines_is_refused(tmp_path) -> None:
    lines = [f"{i}.jpg,old" for i in range(N)] + ["7.jpg,young"]
    with pytest.raises(DataError, match=r"several lines for '7\.jpg'; 1 of its names"):
        read_groups(table(tmp_path / "g.csv", "name,age", lines), DATASET)
