import csv
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_edge.contract import EMOTIONS
from fer_edge.data import load_dataset
from fer_edge.runtime import RetinaFace
from fer_edge.runtime.row_files import columns
from tests.pictures import assert_picture

from .conftest import Command, leftovers

pytestmark = pytest.mark.usefixtures("one_face_each")

FIND = RetinaFace.__call__


def test_every_frame_of_a_video_is_in_the_table(
    fer_edge: Command, exported: Path, film: Path, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    result = fer_edge("analyze", film, "--out", "party.parquet", "-m", exported)
    assert (result.code, result.err) == (0, "")
    table = parquet.read_table(tmp_path / "party.parquet")
    assert table["frame"].to_pylist() == list(range(20))
    assert table["time"].to_pylist() == pytest.approx([i / 40 for i in range(20)])
    assert set(table["track"].to_pylist()) == {0}
    facts = json.loads(table.schema.metadata[b"fer-edge"])
    assert (facts["model"], facts["backend"]) == ("plain", "onnxruntime-cpu")
    first, second, *files = result.out.splitlines()
    assert first.startswith(f"{film}: 20 frames of 0.5 s in ")
    assert first.endswith("20 faces on 1 tracks")
    assert sorted(part.split()[0] for part in second.split(", ")) == sorted(EMOTIONS)
    assert files == ["Table: party.parquet", "Picture: party.png"]
    assert_picture(tmp_path / "party.png")


def test_json_tells_the_sum(fer_edge: Command, exported: Path, film: Path, tmp_path: Path) -> None:
    options = ("--out", "a.csv", "--plot", "b.png", "--smoothing", 0, "--json")
    result = fer_edge("analyze", film, *options, "-m", exported)
    told = json.loads(result.out)
    assert (told["frames"], told["faces"], told["tracks"]) == (20, 20, 1)
    assert sum(told["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert (told["table"], told["plot"]) == ("a.csv", "b.png")
    with (tmp_path / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == list(columns())
    assert all(row["p_happy"] == row["raw_happy"] for row in rows)
    assert len(told["shares"]) - list(told["shares"].values()).count(0) == len(
        {row["emotion"] for row in rows}
    )


def test_a_photo_is_not_replaced_by_its_picture(
    fer_edge: Command, exported: Path, face: Path
) -> None:
    own = Path("face.png")
    own.write_bytes(face.read_bytes())
    arguments = ("analyze", own, "--out", "face.csv", "-m", exported)
    assert "face.png is what is read" in fer_edge(*arguments).error(2)
    assert own.read_bytes() == face.read_bytes()
    assert not Path("face.csv").exists()
    assert fer_edge(*arguments, "--plot", "plot.png").code == 0


@pytest.mark.parametrize(("options", "times"), [([], [None] * 3), (["--fps", 2], [0, 0.5, 1])])
def test_a_folder_of_images(
    fer_edge: Command, exported: Path, tmp_path: Path, options: list, times: list
) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.new("RGB", (320, 240), (80 * i,) * 3).save(tmp_path / "photos" / f"{i}.png")
    result = fer_edge("analyze", "photos", "--out", "a.jsonl", *options, "-m", exported)
    assert result.code == 0
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["time"] for row in rows] == times
    assert ("tracks" in result.out) == bool(options)


@pytest.mark.parametrize("table", ["a.csv", "a.jsonl", "a.parquet"])
def test_names_that_are_no_utf8_are_written_out(
    fer_edge: Command, exported: Path, tmp_path: Path, table: str
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / os.fsdecode(b"nu\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no such name")
    Image.new("RGB", (320, 240)).save(folder / os.fsdecode(b"caf\xe9.png"))
    (folder / os.fsdecode(b"no\xe9.png")).write_bytes(b"no image")
    result = fer_edge("analyze", folder, "--out", table, "-m", exported)
    assert "Not read: no\\xe9.png" in result.out
    if table == "a.csv":
        with (tmp_path / table).open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    elif table == "a.jsonl":
        rows = [json.loads(line) for line in (tmp_path / table).read_text().splitlines()]
    else:
        rows = parquet.read_table(tmp_path / table).to_pylist()
    assert [row["file"] for row in rows] == ["caf\\xe9.png"]
    assert (tmp_path / "a.png").is_file()


def test_interrupted_it_leaves_nothing(
    fer_edge: Command,
    exported: Path,
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def interrupt(_: object, image: object) -> list:
        del image
        calls.append(1)
        if len(calls) == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return []

    monkeypatch.setattr(RetinaFace, "__call__", interrupt)
    error = fer_edge("analyze", film, "--out", "a.csv", "-m", exported).error()
    assert error == "Interrupted; nothing half-written is left."
    assert list(tmp_path.iterdir()) == leftovers(tmp_path) == []


@pytest.fixture
def frames(tmp_path: Path, face: Path) -> Path:
    """Frames 1 to 12 as ffmpeg numbers them; 3 and 11 are damaged, and there is more."""
    folder = tmp_path / "frames"
    (folder / "more").mkdir(parents=True)
    for i in range(1, 13):
        shutil.copy(face, folder / f"{i}.png")
    (folder / "3.png").write_bytes(b"no image")
    (folder / "11.png").write_bytes(face.read_bytes()[:200])
    for litter in (".DS_Store", "._1.png", "Thumbs.db", "notes.txt", "a.TXT", "README"):
        (folder / litter).write_text("x")
    return folder


def test_a_damaged_image_costs_its_own_row_and_keeps_the_times(
    fer_edge: Command, exported: Path, frames: Path, tmp_path: Path
) -> None:
    result = fer_edge("analyze", frames, "--out", "a.csv", "--fps", 10, "-m", exported)
    assert result.code == 1
    errors = result.err.splitlines()
    assert [f"{frames}/3.png cannot be read" in errors[0], f"{frames}/11.png" in errors[1]] == [
        True,
        True,
    ]
    assert "Not read: 3.png, 11.png" in result.out
    assert "No images, skipped: 2 .txt, 1 folder, 1 without ending" in result.out
    with (tmp_path / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    whole = [1, 2, *range(4, 11), 12]
    assert [row["file"] for row in rows] == [f"{i}.png" for i in whole]
    assert [int(row["frame"]) for row in rows] == [i - 1 for i in whole]
    assert [float(row["time"]) for row in rows] == pytest.approx([(i - 1) / 10 for i in whole])


def test_json_has_what_was_not_read(
    fer_edge: Command, exported: Path, frames: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra analyze")
    result = fer_edge("analyze", frames, "--out", "a.parquet", "--json", "-m", exported)
    told = json.loads(result.out)
    assert (result.code, told["frames"]) == (1, 10)
    assert [one["file"] for one in told["errors"]] == ["3.png", "11.png"]
    assert all(one["file"] in one["error"] for one in told["errors"])
    assert told["skipped"] == {".txt": 2, "folder": 1, "without ending": 1}
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table["file"].to_pylist()[-3:] == ["9.png", "10.png", "12.png"]


def test_without_an_image_that_can_be_read_the_old_table_is_left(
    fer_edge: Command, exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "2.png").write_bytes(b"no image")
    (tmp_path / "a.csv").write_text("old")
    result = fer_edge("analyze", "photos", "--out", "a.csv", "-m", exported)
    assert (result.code, result.out) == (1, "")
    assert "photos/2.png cannot be read as an image" in result.err
    assert "photos has no frame that can be read" in result.err
    assert (tmp_path / "a.csv").read_text() == "old"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere.mp4", "--out", "a.csv"], 1, "There is no file nowhere.mp4"),
        (["0", "--out", "a.csv"], 1, "cannot be opened"),
        (["FILM", "--out", "a.xlsx"], 2, "a.xlsx is not a name for a table. End it in .parquet"),
        (["FILM", "--out", "a.csv", "--plot", "a.jpg"], 2, "a.jpg is not a name for a PNG"),
        (["FILM", "--out", "a.csv", "--fps", "0"], 2, "fps must be above 0"),
        (["FILM"], 2, "Missing option '--out'"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    fer_edge: Command, film: Path, arguments: list[str], code: int, says: str
) -> None:
    words = [film if word == "FILM" else word for word in arguments]
    assert says in fer_edge("analyze", *words).error(code)


def test_the_real_detector_and_the_carried_model(
    fer_edge: Command, fer2013: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RetinaFace, "__call__", FIND)
    pytest.importorskip("retinaface")
    faces = load_dataset(fer2013, "val").faces[:400:100]
    (tmp_path / "photos").mkdir()
    for i in range(4):
        frame = np.full((480, 640), 127, np.uint8)
        for j, face in enumerate(faces):
            large = Image.fromarray(face).resize((160, 160), Image.Resampling.BICUBIC)
            x, y = 60 + 300 * (j % 2) + 4 * i, 30 + 220 * (j // 2)
            frame[y : y + 160, x : x + 160] = np.asarray(large)
        Image.fromarray(frame).save(tmp_path / "photos" / f"{i}.png")
    result = fer_edge("analyze", "photos", "--fps", 25, "--out", "a.jsonl", "--json")
    told = json.loads(result.out)
    assert told["model"] == "compact"
    assert told["faces"] >= 12
    assert told["tracks"] <= 5
