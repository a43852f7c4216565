from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_edge.data import FaceDataset, LegendReport
from fer_edge.data.cache import Decoded, cached
from fer_edge.errors import DataError
from tests.data.conftest import FACES


class Decoder:
    """Counts how often it is asked."""

    def __init__(self, report: LegendReport | None = None) -> None:
        self.calls = 0
        self.report = report

    def __call__(self) -> Decoded:
        self.calls += 1
        names = np.array([f"face {i}" for i in range(12)])
        data = FaceDataset.from_arrays(FACES, np.arange(12) % 7, "val", names=names)
        return Decoded("csv", {"val": data}, self.report)


def check(decoded: Decoded) -> None:
    kind, splits, _ = decoded
    data = splits["val"]
    assert (kind, list(splits)) == ("csv", ["val"])
    assert (data.faces == FACES).all()
    assert data.labels.tolist() == (np.arange(12) % 7).tolist()
    assert data.names is not None
    assert data.names[11] == "face 11"
    assert isinstance(data.faces, np.memmap)


def test_decodes_once_a_source(tmp_path: Path) -> None:
    decode = Decoder()
    check(cached(tmp_path, "one", decode))
    check(cached(tmp_path, "one", decode))
    assert decode.calls == 1
    check(cached(tmp_path, "two", decode))
    assert decode.calls == 2


@pytest.mark.parametrize("report", [None, LegendReport(12, {"contempt": 3}, 1)])
def test_keeps_the_report(tmp_path: Path, report: LegendReport | None) -> None:
    decode = Decoder(report)
    assert [cached(tmp_path, "one", decode).report for _ in range(2)] == [report, report]
    assert decode.calls == 1


def flip_pixel(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("val-faces.npy", flip_pixel),
        ("val-labels.npy", flip_pixel),
        ("val-faces.npy", cut),
        ("val-names.npy", Path.unlink),
        ("index.json", cut),
        ("index.json", lambda path: path.write_text("[]")),
    ],
)
def test_damage_is_repaired(tmp_path: Path, name: str, damage: Callable[[Path], object]) -> None:
    decode = Decoder()
    cached(tmp_path, "one", decode)
    (path,) = tmp_path.rglob(name)
    damage(path)
    check(cached(tmp_path, "one", decode))
    check(cached(tmp_path, "one", decode))
    assert decode.calls == 2


@pytest.mark.parametrize("error", [DataError("bad"), KeyboardInterrupt()])
def test_failure_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def decode() -> Decoded:
        raise error

    with pytest.raises(type(error)):
        cached(tmp_path, "one", decode)
    assert not [path for path in tmp_path.rglob("*") if path.name != "faces"]


def test_goes_on_without_a_cache_that_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    decode = Decoder()
    for _ in range(2):
        decoded = cached(tmp_path / "file", "one", decode)
        assert (decoded.splits["val"].faces == FACES).all()
    assert decode.calls == 2
    (said,) = caplog.messages  # once, however often it is asked
    assert str(tmp_path / "file") in said
    assert "set FER_EDGE_CACHE" in said
