"""fer-edge analyze into a folder: as predict says, and every row once whatever is killed.

    python bench/archive.py --photos expressions.zip

The photos of an archive go through `fer-edge predict --find`, through `fer-edge analyze --out` by
processes, and on a Ray cluster of two nodes on this machine (pip install 'fer-edge[ray]'): same
labels. Then some of them and a video are analyzed again and again, and at a random moment of each
run, when some parts are written and others are not, a worker, or the program itself, gets SIGKILL;
what is killed as a whole is started again. Rows are compared with those of a run in peace, and
these with predict's.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from PIL import Image
from ray_nodes import NodeFailedError, Nodes, two_nodes
from recording import RESULTS, record, table

PATIENCE = 120
"""Seconds for a node to start."""
Rows = Counter[tuple[str, int, int, str]]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "fer_edge", *map(str, arguments)]


def unpack(archive: Path, folder: Path, count: int) -> list[Path]:
    """The first so many photos of a zip."""
    with zipfile.ZipFile(archive) as source:
        names = sorted(name for name in source.namelist() if name.lower().endswith(".jpg"))
        for name in names[:count]:
            path = folder / Path(name).name
            path.write_bytes(source.read(name))
    return sorted(folder.iterdir())


def film(photos: list[Path], path: Path) -> None:
    """A video of photos, five frames each, ten a second, with a key frame every two seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        stream.codec_context.gop_size = 20
        for photo in photos:
            pixels = np.asarray(Image.open(photo).convert("RGB").resize((256, 256)))
            for _ in range(5):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))


def measured(run: list[str], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """What a command prints as JSON, its seconds, and the CPU time of it and its children."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(run, stdout=subprocess.PIPE, check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told = json.loads(done.stdout)
    return {"told": told, "wall": time.monotonic() - began, "cpu": spent}


def rows_of(out: Path) -> Rows:
    """Every row, with how often it is there."""
    columns = ["file", "frame", "track", "emotion"]
    rows = ds.dataset(out / "faces").to_table(columns=columns).to_pylist()
    return Counter((row["file"], row["frame"], row["track"], row["emotion"]) for row in rows)


def workers_of(program: int) -> list[int]:
    """Processes that a program has spawned to work, not multiprocessing's own helper."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == program and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def parts_in(out: Path) -> int:
    return len(list((out / "faces").glob("[!.]*.parquet")))


def kill_once(
    run: list[str], out: Path, whom: str, moment: float, per_part: float, nodes: Nodes | None
) -> dict[str, Any]:
    """Start a run, kill a part of it, and finish it.

    ``moment`` is in parts: 2.5 is half of ``per_part`` seconds after the second part is written.
    """
    program = subprocess.Popen(run, stdout=subprocess.DEVNULL)
    while program.poll() is None and parts_in(out) < int(moment):
        time.sleep(0.005)
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.wait(per_part * (moment % 1))
    hit = False
    there = parts_in(out)
    if program.poll() is None:
        victims = [program.pid]
        if whom == "worker":
            victims = nodes.processes(b"ray::do_task") if nodes else workers_of(program.pid)
        for victim in random.Random(moment).sample(victims, min(len(victims), 1)):
            with contextlib.suppress(OSError):
                os.kill(victim, signal.SIGKILL)
                hit = True
    status = program.wait()
    if whom == "program":
        hit = status == -signal.SIGKILL
    if status:
        subprocess.run(run, stdout=subprocess.DEVNULL, check=True)
    return {
        "moment": round(moment, 2),
        "hit": hit,
        "started_again": int(status != 0),
        "parts_then": there,
    }


def kills(
    data: Path, folder: Path, moments: int, nodes: Nodes | None, peace: Rows
) -> list[dict[str, Any]]:
    """Kills of workers and of the program, at random moments between the first part and the last.

    A moment that comes after all is done is drawn again, and is in the list all the same.
    """
    chance = random.Random(0)
    how = "processes" if nodes is None else "ray"
    options = ["--workers", "2"] if nodes is None else ["--ray", nodes.address]

    def run(out: Path) -> list[str]:
        return command("analyze", data, "--out", out, "--span", "4", "--json", *options)

    quiet = folder / f"{how}-peace"
    told = measured(run(quiet))["told"]
    parts = parts_in(quiet)
    per_part = told["seconds_taken"] / parts
    found = []
    for whom in ("worker", "program"):
        hits = 0
        for n in range(3 * moments):
            if hits == moments:
                break
            out = folder / f"{how}-{whom}-{n}"
            told = kill_once(run(out), out, whom, chance.uniform(1, parts), per_part, nodes)
            hits += told["hit"]
            rows = rows_of(out)
            errors = pq.read_table(out / "errors.parquet").num_rows
            found.append(
                {
                    "executor": how,
                    "killed": whom,
                    **told,
                    "parts": parts_in(out),
                    "more_than_once": sum(count > 1 for count in rows.values()),
                    "missing": (peace - rows).total(),
                    "others": (rows - peace).total(),
                    "errors": errors,
                }
            )
            print(found[-1], flush=True)
    return found


def predicted(photos: list[Path]) -> tuple[Rows, dict[str, Any]]:
    """What predict says of all photos."""
    said = measured(command("predict", *photos, "--find", "--json"))
    expected = Counter(
        (one["image"], 0, track, face["emotion"])
        for one in said["told"]
        for track, face in enumerate(one["faces"])
    )
    return expected, {
        "photos": len(photos),
        "bytes": sum(photo.stat().st_size for photo in photos),
        "faces": sum(expected.values()),
        "predict": {"seconds": said["wall"], "cpu_seconds": said["cpu"]},
    }


def differing(rows: Rows, expected: Rows, some: Path, photos: list[Path]) -> int:
    """Rows of copies of some photos that are not as predict says of the photos, or are missing."""
    moved = {str(some / photo.name): str(photo) for photo in photos}
    mine = Counter(
        {(moved[row[0]], *row[1:]): count for row, count in rows.items() if row[0] in moved}
    )
    wanted = {row: count for row, count in expected.items() if row[0] in moved.values()}
    return (mine - Counter(wanted)).total() + (Counter(wanted) - mine).total()


def analyzed(
    photos: list[Path], expected: Rows, folder: Path, nodes: Nodes | None
) -> dict[str, Any]:
    """What analyze says of them, beside predict."""
    out = folder / ("all-processes" if nodes is None else "all-ray")
    options = ["--workers", "2"] if nodes is None else ["--ray", nodes.address]
    done = measured(command("analyze", photos[0].parent, "--out", out, "--json", *options))
    rows = rows_of(out)
    result = {
        "seconds": done["told"]["seconds_taken"],
        "photos_per_second": len(photos) / done["told"]["seconds_taken"],
        # Workers of Ray are children of its nodes.
        "cpu_seconds": done["cpu"] if nodes is None else None,
        "other_labels": len(rows - expected) + len(expected - rows),
        "more_than_once": sum(count > 1 for count in rows.values()),
        "errors": done["told"]["errors"],
        "parts": done["told"]["parts"]["now"],
        "bytes": sum(path.stat().st_size for path in (out / "faces").iterdir()),
    }
    print(result, flush=True)
    return result


def compared(options: argparse.Namespace, folder: Path, nodes: Nodes) -> dict[str, Any]:
    """All that is recorded."""
    (folder / "photos").mkdir()
    photos = unpack(options.photos, folder / "photos", options.count)
    expected, told = predicted(photos)
    some = folder / "some"
    some.mkdir()
    for photo in photos[: options.some]:
        (some / photo.name).write_bytes(photo.read_bytes())
    film(photos[:16], some / "film.mp4")
    peace = folder / "peace"
    run = command("analyze", some, "--out", peace, "--span", "4", "--json", "--workers", "1")
    subprocess.run(run, stdout=subprocess.DEVNULL, check=True)
    rows = rows_of(peace)
    found: list[dict[str, Any]] = []
    for how in (None, nodes):
        found += kills(some, folder, options.moments, how, rows)
    told["processes"] = analyzed(photos, expected, folder, None)
    told["ray"] = analyzed(photos, expected, folder, nodes)
    return {
        "labels": told,
        "peace": {
            "photos": options.some,
            "rows": sum(rows.values()),
            "other_labels_in_photos": differing(rows, expected, some, photos[: options.some]),
        },
        "kills": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="zip with JPEGs")
    parser.add_argument("--count", type=int, default=2500, help="photos that are scored")
    parser.add_argument("--some", type=int, default=200, help="photos of the runs with kills")
    parser.add_argument("--moments", type=int, default=10, help="kills of each kind that hit")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    try:
        # Before the minutes that the rest takes: a machine may be too busy for Ray to start.
        with two_nodes(PATIENCE) as nodes, tempfile.TemporaryDirectory() as name:
            print(f"Nodes at {nodes.address}", flush=True)
            result = compared(options, Path(name), nodes)
    except NodeFailedError as error:
        raise SystemExit(f"No node of Ray: {error}") from error
    record(options.out / "archive.json", result)
    found, rows = result["kills"], result["peace"]["rows"]
    lines = []
    for how in ("processes", "ray"):
        for whom in ("worker", "program"):
            mine = [one for one in found if (one["executor"], one["killed"]) == (how, whom)]
            wrong = sum(one["more_than_once"] + one["missing"] + one["others"] for one in mine)
            hit = sum(one["hit"] for one in mine)
            lines.append([f"{how}, {whom}", f"{hit}", f"{rows:,}", f"{wrong}"])
    print(table(["killed", "times", "rows in peace", "missing, twice or other"], lines))


if __name__ == "__main__":
    main()
