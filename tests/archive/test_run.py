import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_edge.archive import analyze_archive, list_files
from fer_edge.archive.run import ATTEMPTS, Summary
from fer_edge.archive.tasks import Cut, Photos, Piece, Settings
from fer_edge.contract import EMOTIONS
from fer_edge.errors import DataError, FerEdgeError, UsageError

from .fakes import Inline, write_photos, write_video

Make = Callable[..., Settings]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """50 photos, one of them damaged, and a video of three pieces."""
    folder = tmp_path / "data"
    photos = write_photos(folder / "photos", 50)
    photos[7].write_bytes(b"no photo")
    write_video(folder / "film.mp4")
    (folder / "broken.mp4").write_bytes(b"no film")
    return folder


def run(settings: Settings, data: Path, executor: Inline | None = None, **more: object) -> Summary:
    executor = executor or Inline()
    summary = analyze_archive(list_files([str(data)]), settings, executor, EMOTIONS, **more)
    assert executor.closed
    return summary


def everything(out: str) -> tuple[list[tuple], list[tuple]]:
    """All rows of an archive, and all errors, sorted; without what no two runs have in common."""
    parquet = pytest.importorskip("pyarrow.parquet")
    dataset = pytest.importorskip("pyarrow.dataset")
    rows = dataset.dataset(Path(out) / "faces").to_table().to_pylist()
    errors = parquet.read_table(Path(out) / "errors.parquet").to_pylist()
    return (
        sorted((row["file"], row["frame"], row["track"], row["raw_happy"]) for row in rows),
        sorted((row["file"], row["piece"] or 0) for row in errors),
    )


def test_everything_is_there_once_and_what_is_damaged_is_a_row(settings: Make, data: Path) -> None:
    made, told = settings(), []
    summary = run(made, data, progress=told.append)
    rows, errors = everything(made.out)
    assert Counter(file for file, *_ in rows) == {
        **{str(data / "photos" / f"{n:04d}.png"): 1 for n in range(50) if n != 7},
        str(data / "film.mp4"): 100,
    }
    assert errors == [(str(data / "broken.mp4"), 0), (str(data / "photos" / "0007.png"), 0)]
    assert (told[0], told[-1]) == (0.0, pytest.approx(1.0))
    assert told == sorted(told)
    assert summary.to_dict() | {"seconds_taken": 0, "emotions": {}} == {
        "files": 52,
        "photos": 50,
        "pieces": 4,
        "frames": 100,
        "seconds": pytest.approx(4.85, abs=0.3),
        "faces": 149,
        "emotions": {},
        "errors": 2,
        "skipped": {},
        "changed": [],
        "parts": {"before": 0, "now": 7},
        "executor": "inline",
        "workers": 2,
        "crashes": 0,
        "seconds_taken": 0,
    }
    facts = json.loads((Path(made.out) / "archive.json").read_text())
    assert facts == made.facts


def test_a_second_run_does_what_is_new_alone(settings: Make, data: Path) -> None:
    made = settings()
    run(made, data)
    before = {path: path.stat().st_mtime_ns for path in Path(made.out).glob("faces/*")}
    write_photos(data / "photos", 3, first=50)
    (data / "photos" / "0007.png").write_bytes(b"something else")
    executor = Inline()
    summary = run(made, data, executor)
    assert [type(task) for task in executor.done] == [Photos]
    assert (summary.done_before, summary.done_now) == (7, 1)
    assert summary.changed == [str(data / "photos" / "0007.png")]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(everything(made.out)[0]) == 152
    assert summary.tally.photos == 53


class StopError(Exception):
    pass


@pytest.mark.parametrize("after", range(1, 8))
def test_wherever_a_run_ends_the_next_goes_on(
    settings: Make, data: Path, tmp_path: Path, after: int
) -> None:
    whole = settings(out=str(tmp_path / "whole"))
    run(whole, data)
    made = settings()

    def stop(_: object) -> bool:
        if len(executor.done) > after:
            raise StopError
        return False

    executor = Inline(stop)
    with pytest.raises(StopError):
        run(made, data, executor)
    done = len(list(Path(made.out).glob("faces/*")))
    summary = run(made, data, Inline(slots=1))
    assert summary.done_before == done
    assert everything(made.out) == everything(whole.out)


def test_a_process_that_was_killed_for_nothing_is_forgotten(
    settings: Make, data: Path, tmp_path: Path
) -> None:
    whole = settings(out=str(tmp_path / "whole"))
    run(whole, data)
    seen: Counter[object] = Counter()

    def at_first(task: object) -> bool:
        seen[task] += 1
        return seen[task] < ATTEMPTS

    made = settings()
    summary = run(made, data, Inline(at_first))
    assert everything(made.out) == everything(whole.out)
    assert summary.crashes == (ATTEMPTS - 1) * len(seen)


def test_what_ends_processes_is_found_and_becomes_a_row(settings: Make, data: Path) -> None:
    deadly = {str(data / "photos" / f"{n:04d}.png") for n in (0, 20, 21)}

    def crashes(task: object) -> bool:
        if isinstance(task, Photos):
            return bool(deadly & set(task.files))
        return isinstance(task, Piece) and task.number == 1

    made = settings()
    summary = run(made, data, Inline(crashes))
    rows, errors = everything(made.out)
    files = Counter(file for file, *_ in rows)
    assert sum(count for file, count in files.items() if file.endswith(".png")) == 46
    # The pieces of 30 to 40 frames before and after it.
    assert 60 <= files[str(data / "film.mp4")] <= 70
    assert {*deadly, str(data / "film.mp4")} < {file for file, _ in errors}
    assert summary.tally.photos == 50
    (one,) = [row for row in summary.errors if row.file.endswith("0020.png")]
    assert f"The process that read it ended, {ATTEMPTS} times, the last by signal 9" in one.error
    # And it stays so.
    assert run(made, data).done_now == 0


def test_a_video_that_cannot_be_cut_without_a_crash_is_a_row(settings: Make, data: Path) -> None:
    made = settings()
    run(made, data, Inline(lambda task: isinstance(task, Cut)))
    assert (str(data / "film.mp4"), 0) in everything(made.out)[1]


@pytest.mark.parametrize("what", ["model", "out"])
def test_what_befalls_all_ends_the_run_with_a_reason(
    settings: Make, data: Path, tmp_path: Path, what: str
) -> None:
    if what == "model":
        made = settings(model=str(tmp_path / "nowhere"))
    else:
        made = settings()
        Path(made.out).write_text("a file")
    with pytest.raises(FerEdgeError, match="nowhere" if what == "model" else "rows"):
        run(made, data)


def test_other_settings_and_other_folders_are_refused(
    settings: Make, data: Path, tmp_path: Path
) -> None:
    run(settings(), data)
    with pytest.raises(UsageError, match="was made otherwise: detector one face, now none"):
        run(settings(facts={"detector": "none"}), data)
    with pytest.raises(UsageError, match="has files in it, and is no archive"):
        run(settings(out=str(data)), data)
    (tmp_path / "rows" / "archive.json").write_text("{")
    with pytest.raises(DataError, match=r"archive\.json is damaged"):
        run(settings(), data)


@pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0 or sys.platform != "linux", reason="needs root"
)
def test_a_full_disk_ends_the_run_and_the_next_goes_on(settings: Make, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_photos(data, 200)
    whole = settings(out=str(tmp_path / "whole"))
    run(whole, data)
    rows = tmp_path / "rows"
    rows.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(rows)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        made = settings(out=str(rows / "here"))
        with pytest.raises(FerEdgeError, match="No space left on device") as error:
            run(made, data)
        assert "Free some space" in str(error.value)
        done = len(list(rows.glob("here/faces/*.parquet")))
        assert done > 0
        assert not list(rows.glob("here/faces/.*"))
        subprocess.run(["mount", "-o", "remount,size=10m", str(rows)], check=True)
        assert run(made, data).done_before == done
        assert everything(made.out) == everything(whole.out)
    finally:
        subprocess.run(["umount", str(rows)], check=True)
