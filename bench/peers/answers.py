"""All frames and faces, asked of every peer once; what was answered is kept."""

import argparse
import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.frames import Image, read_photos, scenes
from bench.peers.asking import Peer, PeerFailedError
from bench.peers.declared import Entry
from bench.peers.environments import HERE, lock_of
from fer_edge.data import FaceDataset, load_dataset
from fer_edge.evaluation.detections import Boxes

CHUNK = 100
"""Frames or faces asked for at a time."""


@dataclass(frozen=True)
class Questions:
    """What all are asked, as files."""

    frames: list[Path]
    photos: list[Path]
    faces: Path
    truth: list[Boxes]
    """Where the faces of the frames are."""
    labels: NDArray[np.integer]
    """Of the faces."""
    digests: dict[str, str]
    """Of all pixels that a task asks about."""

    @classmethod
    def make(cls, arguments: argparse.Namespace) -> "Questions":
        val = load_dataset(arguments.data, "val")
        faces, labels = some_faces(val, arguments.faces)
        images, truth = scenes(val.faces, arguments.frames)
        photos = list(read_photos(arguments.photos, arguments.frames)) if arguments.photos else []
        digests = {"detect": _digest([*images, *photos]), "classify": _digest([faces])}
        folder = arguments.work / "questions" / "-".join(one[:12] for one in digests.values())
        frame_paths = [folder / f"frame-{i:04d}.npy" for i in range(len(images))]
        photo_paths = [folder / f"photo-{i:04d}.npy" for i in range(len(photos))]
        paths = [*frame_paths, *photo_paths, folder / "faces.npy"]
        _keep(paths, [*images, *photos, faces])
        return cls(frame_paths, photo_paths, paths[-1], truth, labels, digests)

    @classmethod
    def of_faces(cls, faces: Image, labels: NDArray[np.integer], work: Path) -> "Questions":
        """Of faces alone, (N, 48, 48)."""
        digest = _digest([faces])
        path = work / "questions" / digest[:12] / "faces.npy"
        _keep([path], [faces])
        return cls([], [], path, [], labels, {"classify": digest})


def some_faces(val: FaceDataset, count: int | None) -> tuple[Image, NDArray[np.integer]]:
    """Faces and labels, all or so many at random: FER2013 comes sorted by emotion."""
    some = np.sort(np.random.default_rng(0).permutation(len(val.faces))[:count])
    return np.ascontiguousarray(val.faces[some]), np.asarray(val.labels)[some]


def _keep(paths: list[Path], images: list[Image]) -> None:
    """Write files that are not there yet."""
    for path, pixels in zip(paths, images, strict=True):
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path.with_suffix(".part.npy"), pixels)
            path.with_suffix(".part.npy").rename(path)


def _digest(images: list[Image]) -> str:
    told = hashlib.sha256()
    for pixels in images:
        told.update(str(pixels.shape).encode() + pixels.tobytes())
    return told.hexdigest()


def home_of(entry: Entry, work: Path) -> Path:
    """The user's folder that a peer has, kept from run to run."""
    return work / "homes" / f"{entry.adapter.name}"


def ask_all(
    rows: list[Entry],
    commands: dict[str, list[str]],
    questions: Questions,
    work: Path,
    cores: list[int],
) -> dict[Entry, dict[str, Any]]:
    """``answers``, and the ``labels`` that they are of, or ``failed`` and why.

    As many peers at a time as there are cores.
    """
    free = list(cores)
    lock = threading.Lock()

    def ask(entry: Entry) -> dict[str, Any]:
        kept = work / "answers" / f"{_key(entry, questions)}.json"
        if kept.is_file():
            return json.loads(kept.read_text())
        with lock:
            core = free.pop()
        try:
            print(f"{entry.name}: {entry.task}", flush=True)
            told = _answers(entry, commands[entry.adapter.name], questions, work, core)
        except PeerFailedError as error:
            print(f"{entry.name}: {error}", flush=True)
            return {"failed": str(error)}
        finally:
            with lock:
                free.append(core)
        # FER-Edge itself changes from one run to the next.
        if not any(HERE in one for one in entry.adapter.dependencies or ()):
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(told))
        return told

    with ThreadPoolExecutor(len(cores)) as pool:
        return dict(zip(rows, pool.map(ask, rows), strict=True))


def _answers(
    entry: Entry, command: list[str], questions: Questions, work: Path, core: int
) -> dict[str, Any]:
    peer = Peer(command, entry.task, entry.variant, home_of(entry, work), core)
    try:
        if entry.task == "classify":
            n = len(questions.labels)
            parts = [
                peer.answers([questions.faces], at, min(at + CHUNK, n)) for at in range(0, n, CHUNK)
            ]
        else:
            files = questions.frames + questions.photos
            parts = [peer.answers(files[at : at + CHUNK]) for at in range(0, len(files), CHUNK)]
        return {"answers": [one for part in parts for one in part["answers"]]} | {
            "labels": peer.labels
        }
    finally:
        peer.close()


def _key(entry: Entry, questions: Questions) -> str:
    """Of everything that an answer depends on."""
    adapter = entry.adapter
    lock = lock_of(adapter)
    protocol = adapter.path.with_name("protocol").with_suffix(adapter.path.suffix)
    told = [entry.task, entry.variant, questions.digests[entry.task]]
    told += [path.read_text() for path in (adapter.path, protocol, lock) if path.is_file()]
    return f"{adapter.name}-{hashlib.sha256('|'.join(told).encode()).hexdigest()[:16]}"
