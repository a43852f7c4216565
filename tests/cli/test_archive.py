"""fer-edge analyze into a folder."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import fer_edge.archive
from fer_edge.cli.arguments import with_values
from fer_edge.contract import EMOTIONS
from tests.archive.fakes import Inline, write_photos

from .conftest import Command, leftovers

pytest.importorskip("pyarrow", reason="needs the extra analyze")
pytestmark = pytest.mark.usefixtures("one_face_each")


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers in this process, where the detector is that of :func:`one_face_each`."""
    monkeypatch.setattr(fer_edge.archive, "Processes", lambda count: Inline(slots=count))


@pytest.fixture
def data(tmp_path: Path, film: Path, face: Path) -> Path:
    """Three photos, one of them damaged, a video, and something else."""
    folder = tmp_path / "data"
    folder.mkdir()
    for n in range(2):
        shutil.copy(face, folder / f"{n}.png")
    (folder / "2.png").write_bytes(b"no photo")
    (folder / "notes.md").write_text("x")
    shutil.copy(film, folder / "film.mp4")
    return folder


def rows(folder: Path) -> list[dict]:
    dataset = pytest.importorskip("pyarrow.dataset")
    return dataset.dataset(folder / "faces").to_table().to_pylist()


@pytest.mark.usefixtures("inline")
def test_a_folder_of_photos_and_videos(
    fer_edge: Command, exported: Path, data: Path, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    result = fer_edge("analyze", data, "--out", "rows", "-m", exported, "--workers", 3)
    assert result.code == 1
    (error,) = result.err.splitlines()
    assert error.startswith(f"error: {data}/2.png cannot be read as an image")
    first, second, *rest = result.out.splitlines()
    assert first.startswith("3 photos, 20 frames of video, 22 faces, in ")
    assert first.endswith(" s by 3 workers")
    assert {part.split()[0] for part in second.split(", ")} <= {*EMOTIONS}
    assert rest == [
        "No photos or videos, skipped: 1 .md",
        "Rows: rows/faces",
        "Not read: 1, in rows/errors.parquet",
    ]
    assert len(rows(tmp_path / "rows")) == 22
    (failed,) = parquet.read_table(tmp_path / "rows" / "errors.parquet").to_pylist()
    assert failed["file"] == f"{data}/2.png"
    assert [path for path in leftovers(tmp_path) if not path.endswith(".lock")] == []


@pytest.mark.usefixtures("inline")
def test_a_second_run_does_what_is_left_with_the_precision_of_the_first(
    fer_edge: Command, exported: Path, data: Path, tmp_path: Path
) -> None:
    options = ("--out", "rows", "-m", exported, "--json")
    told = json.loads(fer_edge("analyze", data, *options, "--precision", "fp32").out)
    assert (told["precision"], told["photos"], told["errors"]) == ("fp32", 3, 1)
    assert told["parts"] == {"before": 0, "now": 2}
    shutil.copy(data / "0.png", data / "3.png")
    told = json.loads(fer_edge("analyze", data, *options).out)
    # "auto" is what the archive was begun with, whatever is fastest now.
    assert (told["precision"], told["photos"]) == ("fp32", 4)
    assert told["parts"] == {"before": 2, "now": 1}
    assert len(rows(tmp_path / "rows")) == 23
    other = fer_edge("analyze", data, *options, "--min-score", "0.5")
    assert "was made otherwise: min_score 0.7, now 0.5" in other.error(2)


@pytest.mark.usefixtures("inline")
def test_labels_are_those_of_predict(fer_edge: Command, exported: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 5)
    for photo in photos:
        Image.open(photo).resize((320, 240)).save(photo)
    said = json.loads(
        fer_edge("predict", *photos, "--find", "-m", exported, "--json", "--precision", "fp32").out
    )
    assert (
        fer_edge("analyze", "photos", "--out", "rows", "-m", exported, "--precision", "fp32").code
        == 0
    )
    assert [(row["file"], row["emotion"], row["raw_happy"]) for row in rows(tmp_path / "rows")] == [
        (one["image"], face["emotion"], pytest.approx(face["probabilities"]["happy"], abs=1e-5))
        for one in said
        for face in one["faces"]
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere", "--out", "rows"], 1, "There is no file or folder nowhere"),
        (["DATA", "--out", "rows", "--fps", "3"], 2, "--plot and --fps are for one recording"),
        (["DATA", "DATA", "--out", "a.csv"], 2, "a.csv is one table, for one recording"),
        (["DATA", "--out", "a.csv", "--ray"], 2, "a.csv is one table, which one process writes"),
        (["DATA", "--out", "rows", "--ray", "--workers", "2"], 2, "Drop --workers"),
        (["DATA", "--out", "ftp://host/rows"], 2, "rows cannot be written to ftp://"),
        (["DATA", "--out", "data"], 2, "has files in it, and is no archive"),
        (["DATA", "--out", "rows", "--detector", "nobody"], 1, "nobody"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    fer_edge: Command, data: Path, arguments: list[str], code: int, says: str
) -> None:
    words = [data if word == "DATA" else word for word in arguments]
    result = fer_edge("analyze", *words)
    assert says in result.error(result.code)
    assert result.code in (code, 2)


def test_ray_may_stand_without_an_address() -> None:
    assert with_values(["a", "--ray"]) == ["a", "--ray", "auto"]
    assert with_values(["--ray", "--json"]) == ["--ray", "auto", "--json"]
    assert with_values(["--ray", "host:1", "a"]) == ["--ray", "host:1", "a"]
