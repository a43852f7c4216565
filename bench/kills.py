"""What is left of `fer-edge camera --record` when it ends, or its disk is full, at twenty moments.

A live MJPEG stream is recorded, and the program gets SIGTERM, or SIGKILL, some time after its file
has begun, or writes to a file system in memory (needs root) that has room for part of it. Shows how
many seconds of it play, against those that it ran.
"""

import argparse
import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import av
import numpy as np
from PIL import Image
from recording import RESULTS, record


def serve(client: socket.socket) -> None:
    noise = np.random.default_rng(0)
    with contextlib.suppress(OSError), client:
        client.recv(4096)
        kind = b"multipart/x-mixed-replace; boundary=b"
        client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n")
        while True:
            stream = io.BytesIO()
            Image.fromarray(noise.integers(0, 256, (120, 160, 3), np.uint8)).save(stream, "JPEG")
            jpeg = stream.getvalue()
            head = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
            client.sendall(head + jpeg + b"\r\n")
            time.sleep(1 / 15)


def accept(server: socket.socket) -> None:
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()


def measure(address: str, path: Path, seconds: float, how: signal.Signals) -> dict[str, object]:
    command = [sys.executable, "-m", "fer_edge", "camera", address, "--record", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not path.exists():
        time.sleep(0.005)
    time.sleep(seconds)
    process.send_signal(how)
    code = process.wait()
    return {
        "end": how.name,
        "after": round(seconds, 2),
        "plays": played(path),
        "status": code,
    }


def fill(address: str, folder: Path, kib: int) -> dict[str, object]:
    """Record onto a file system of so many KiB until the program ends by itself."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    path = folder / "a.mp4"
    try:
        command = [sys.executable, "-m", "fer_edge", "camera", address, "--record", str(path)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while not path.exists():
            time.sleep(0.005)
        began = time.monotonic()
        assert process.stderr is not None
        # It says at once that the file could not be written on; ending takes longer.
        said = process.stderr.readline()
        after = time.monotonic() - began
        process.stderr.read()
        code = process.wait(60)
        return {
            "end": f"disk of {kib} KiB full",
            "said": said.strip(),
            "after": round(after, 2),
            "plays": played(path),
            "status": code,
        }
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def played(path: Path) -> float:
    """Seconds that play."""
    seconds = 0.0
    with contextlib.suppress(av.FFmpegError), av.open(str(path)) as container:
        for frame in container.decode(video=0):
            seconds = frame.time
    return round(seconds, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--moments", type=int, default=20)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(server,), daemon=True).start()
    address = f"http://127.0.0.1:{server.getsockname()[1]}/v"
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for n in range(options.moments):
            for how in (signal.SIGTERM, signal.SIGKILL):
                path = Path(folder) / f"{n}-{how.name}.mp4"
                found.append(measure(address, path, 0.3 + 0.17 * n, how))
                print(found[-1], flush=True)
            if os.getuid() == 0:
                found.append(fill(address, Path(folder) / f"{n}", 100 + 50 * n))
                print(found[-1], flush=True)
    lost = max(float(str(one["after"])) - float(str(one["plays"])) for one in found)
    record(options.out / "kills.json", {"most_seconds_lost": round(lost, 2), "moments": found})
    print(f"At most {lost:.2f} s are missing.")


if __name__ == "__main__":
    main()
