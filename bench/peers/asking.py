"""The process of an adapter, on one core, and what it answers."""

import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

ONE_THREAD = dict.fromkeys(
    (
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
        *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
    ),
    "1",
)
SAFE = {
    # Of a pickle, PyTorch then takes tensors and nothing that runs.
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
PATIENCE = 180.0
"""Seconds for an answer to begin with."""
PER_ITEM = 20.0
"""Seconds for each frame or face beyond."""


class PeerFailedError(Exception):
    """A peer's own error, in one line."""


class Peer:
    """A running adapter that has one of its variants open.

    Parameters
    ----------
    command : list of str
    task : str
        ``detect`` or ``classify``.
    variant : str
    home : Path
        Folder in which the peer finds and keeps what it would in the user's.
    core : int
        The only one that it may use.

    Raises
    ------
    PeerFailedError
        It ends, or cannot open the variant.
    """

    def __init__(self, command: list[str], task: str, variant: str, home: Path, core: int) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._log = (home / f"{task}.log").open("w+")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_environment(home),
            # A signal to the bench is not one to its peers, which it closes itself.
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            self.labels: list[str] | None = self.ask(
                {"do": "open", "task": task, "variant": variant}
            )["labels"]
        except PeerFailedError:
            self.close()
            raise

    def ask(self, request: dict[str, Any], items: int = 0) -> dict[str, Any]:
        """Send a request, and give its answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            raise PeerFailedError(self._last_words()) from None
        ready, _, _ = select.select([stdout], [], [], PATIENCE + items * PER_ITEM)
        if not ready:
            raise PeerFailedError(f"no answer in {PATIENCE + items * PER_ITEM:.0f} s")
        line = stdout.readline()
        if not line:
            raise PeerFailedError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerFailedError(answer["error"])
        return answer

    def answers(self, files: list[Path], begin: int = 0, end: int | None = None) -> dict[str, Any]:
        """``answers`` and ``ms`` of every frame of ``files``, or every face of the one file.

        Parameters
        ----------
        files : list of Path
            .npy: to detect, a uint8 frame (H, W, 3) each, BGR; to classify, one of uint8 faces
            (N, 48, 48), of which those from ``begin`` to before ``end`` are taken.
        """
        items = len(files) if end is None else end - begin
        told = {"do": "answer", "files": [str(path.resolve()) for path in files]}
        return self.ask({**told, "begin": begin, "end": end}, items)

    def peak_mib(self) -> float:
        """Most memory that the process has had so far, resident."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        (peak,) = [line for line in lines if line.startswith("VmHWM:")]
        return int(peak.split()[1]) / 1024

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _last_words(self) -> str:
        self._process.wait(10)
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return lines[-1] if lines else f"ended with status {self._process.returncode}"


def start_up(
    command: list[str], task: str, variant: str, home: Path, core: int, first: list[Path]
) -> tuple[Peer, float]:
    """A peer that has given its first answer, and the seconds from its start to that."""
    began = time.perf_counter()
    peer = Peer(command, task, variant, home, core)
    try:
        peer.answers(first, 0, 1 if task == "classify" else None)
    except PeerFailedError:
        peer.close()
        raise
    return peer, time.perf_counter() - began


def _environment(home: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENBLAS_", "PYTHON", "XDG_", "FER_EDGE"))
    }
    return {**kept, **ONE_THREAD, **SAFE, "HOME": str(home.resolve())}
