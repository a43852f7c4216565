"""fer-edge serve under many clients, beside one caller with full batches and beside other servers.

    python bench/serving.py --data fer2013.zip

64 connections of wrk (apt install wrk) ask for the expressions of four faces each, over loopback,
in turns with one caller who fills batches of 64, and with serving_fastapi.py and
serving_litserve.py where those are installed. The client runs on the same cores; what it takes of
them is told. Then 64 ask for ten minutes in one go, with others among them who ask for other things
or hang up (serving_clients.py), and memory and open files are looked at. Then the server is killed
ten times at random moments and started again, while clients ask until they are answered, and
compare.

wrk's connections are closed loops, each of which asks again when it was answered: what it tells of
latency is that of 64 such clients, not of clients that ask at a rate of their own.
"""

import base64
import contextlib
import http.client
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from recording import record, runtime_arguments, table
from serving_clients import FACES, Asking, Others, in_one_go, request_of

from fer_edge import Recognizer
from fer_edge.data import load_dataset
from fer_edge.engines.base import Faces
from fer_edge.models.carried import carried_model

CLIENTS = 64
BATCH = 64
HERE = Path(__file__).parent
LUA = """
wrk.method = "POST"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "{kind}"
wrk.headers["Inference-Header-Content-Length"] = "{length}"
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\\nJSON {{"requests": %d, "seconds": %f, "bad_status": %d, "socket_errors": %d, ' ..
    '"timeouts": %d, "p50_ms": %f, "p99_ms": %f, "max_ms": %f}}\\n',
    summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write,
    e.timeout, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status != 200:
        raise OSError(answer.status)
    return text


def wait_for(port: int, path: str, process: "subprocess.Popen[bytes]") -> None:
    while True:
        if process.poll() is not None:
            raise SystemExit(f"The server for {path} has ended: status {process.returncode}.")
        try:
            get(port, path)
        except OSError:
            time.sleep(0.05)
        else:
            return


@contextlib.contextmanager
def running(command: list[str], port: int, path: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A server and its children, until the context's end."""
    # What the others say of clients that hang up is not of interest.
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, path, process)
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        # And what it has started.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def serve_command(port: int) -> list[str]:
    return [sys.executable, "-m", "fer_edge", "serve", "--port", str(port)]


def ask(port: int, path: str, script: Path, seconds: float) -> dict[str, float]:
    """What wrk tells of so many seconds, and the CPU time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    command += ["-s", str(script), f"http://127.0.0.1:{port}{path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("JSON ")]
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told = json.loads(line.removeprefix("JSON "))
    return {**told, "client_cpu_seconds": spent}


def call_alone(recognizer: Recognizer, faces: Faces, seconds: float) -> tuple[float, float]:
    """Faces per second of one caller, and its CPU time in ms for as many as a request has."""
    began, cpu = time.perf_counter(), time.process_time()
    done = 0
    while (spent := time.perf_counter() - began) < seconds:
        at = done % len(faces)
        recognizer(faces[at : at + BATCH])
        done += BATCH
    return done / spent, 1e3 * (time.process_time() - cpu) / done * FACES


def metric(port: int, start: str) -> float:
    lines = get(port, "/metrics").decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(start))


def statuses(port: int) -> dict[str, int]:
    """Answers to inference, by status."""
    found: dict[str, int] = {}
    for line in get(port, "/metrics").decode().splitlines():
        if line.startswith("fer_edge_requests_total") and "/infer" in line:
            code = line.partition('code="')[2][:3]
            found[code] = found.get(code, 0) + round(float(line.split()[-1]))
    return found


def cpu_seconds(session: int) -> float:
    """Of all processes of a session."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(data: Faces, seconds: float, turns_each: int, folder: Path) -> dict[str, Any]:
    """Turns of everybody, ``seconds`` for fer-edge serve in all and half of it for each other."""
    port = free_port()
    path = "/v2/models/compact/infer"
    peers = [name for name in ("fastapi", "litserve") if find_spec(name)]
    graph = str(carried_model() / "int8.cpu.onnx")
    alone: list[float] = []
    alone_cpu: list[float] = []
    turns: dict[str, list[dict[str, float]]] = {"fer-edge serve": [], **{p: [] for p in peers}}
    part = seconds / turns_each
    with running(serve_command(port), port, "/v2/health/ready") as server:
        ask(port, path, folder / "ask.lua", 2)
        first = {name: metric(port, f"process_{name}") for name in ("open_fds", "resident_memory")}
        for _ in range(turns_each):
            with Recognizer(batch=BATCH) as recognizer:
                recognizer(data[:BATCH])
                speed, cpu = call_alone(recognizer, data, part / 2)
                alone.append(speed)
                alone_cpu.append(cpu)
                precision = recognizer.describe().precision
            script = folder / "ask.lua"
            turns["fer-edge serve"].append(watched(server, port, path, script, part))
            for name in peers:
                own = free_port()
                command = [sys.executable, str(HERE / f"serving_{name}.py"), str(own), graph]
                with running(command, own, "/health") as peer:
                    # LitServe takes no bytes but JSON.
                    script = folder / ("json.lua" if name == "litserve" else "ask.lua")
                    ask(own, "/predict", script, 1)
                    turns[name].append(watched(peer, own, "/predict", script, part / 2))
            print(f"one caller {alone[-1]:,.0f} faces/s", flush=True)
            for name, found in turns.items():
                print(f"{name} {FACES * found[-1]['requests'] / found[-1]['seconds']:,.0f}")
        time.sleep(6)  # idle connections are closed after five
        last = {name: metric(port, f"process_{name}") for name in first}
        batches = metric(port, "fer_edge_batch_faces_count")
        result = {
            "precision": precision,
            "statuses": statuses(port),
            "faces_in_a_batch": metric(port, "fer_edge_batch_faces_sum") / batches,
            "open_files": [first["open_fds"], last["open_fds"]],
            "resident_mib": [first["resident_memory"] / 2**20, last["resident_memory"] / 2**20],
        }
    full = float(np.median(alone))
    shares = [
        FACES * turn["requests"] / turn["seconds"] / one
        for turn, one in zip(turns["fer-edge serve"], alone, strict=True)
    ]
    return {
        **result,
        "one_caller_faces_per_second": full,
        "share_of_one_caller": float(np.median(shares)),
        "one_caller_cpu_ms": float(np.median(alone_cpu)),
        "rows": {name: summary(found) for name, found in turns.items()},
    }


def measure_long(data: Faces, seconds: float, folder: Path) -> dict[str, Any]:
    """All clients and others for so many seconds, of a server of its own."""
    port = free_port()
    path = "/v2/models/compact/infer"

    def look() -> dict[str, float]:
        return {
            "requests": metric(port, "fer_edge_requests_total"),
            "resident_mib": metric(port, "process_resident_memory") / 2**20,
            "open_files": metric(port, "process_open_fds"),
        }

    with running(serve_command(port), port, "/v2/health/ready"):
        ask(port, path, folder / "ask.lua", 2)
        others = Others(port, path, *request_of(data[:FACES]), data[0])
        others.ask_each()
        found = in_one_go(
            seconds, lambda time: ask(port, path, folder / "ask.lua", time), others, look
        )
        found["faces_per_second"] = FACES * found["requests"] / found["seconds"]
        return {**found, "statuses": statuses(port)}


def watched(
    server: "subprocess.Popen[bytes]", port: int, path: str, script: Path, seconds: float
) -> dict[str, float]:
    """What :func:`ask` tells, and the CPU time of the server."""
    before = cpu_seconds(server.pid)
    told = ask(port, path, script, seconds)
    return {**told, "server_cpu_seconds": cpu_seconds(server.pid) - before}


def summary(turns: list[dict[str, float]]) -> dict[str, float]:
    speeds = [FACES * turn["requests"] / turn["seconds"] for turn in turns]
    requests = sum(turn["requests"] for turn in turns)
    return {
        "requests": requests,
        "server_cpu_ms": 1e3 * sum(turn["server_cpu_seconds"] for turn in turns) / requests,
        "client_cpu_ms": 1e3 * sum(turn["client_cpu_seconds"] for turn in turns) / requests,
        "faces_per_second": float(np.median(speeds)),
        **{name: float(np.median([turn[name] for turn in turns])) for name in ("p50_ms", "p99_ms")},
        "max_ms": max(turn["max_ms"] for turn in turns),
        "bad_status": sum(turn["bad_status"] for turn in turns),
        "socket_errors": sum(turn["socket_errors"] + turn["timeouts"] for turn in turns),
    }


def kill(data: Faces, times: int) -> dict[str, Any]:
    """SIGKILL at random moments, and a start after each."""
    port = free_port()
    moments = random.Random(0)
    away: list[float] = []

    def start() -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(serve_command(port), stderr=subprocess.DEVNULL)
        wait_for(port, "/v2/health/ready", process)
        return process

    server = start()
    with Asking(port, data) as clients:
        for _ in range(times):
            time.sleep(moments.uniform(0.2, 2))
            server.kill()
            server.wait()
            killed = time.monotonic()
            server = start()
            while clients.newest < killed:
                time.sleep(0.01)
            away.append(clients.newest - killed)
        time.sleep(0.5)
    server.terminate()
    return {
        "kills": times,
        "right": clients.right,
        "wrong": clients.wrong,
        "asked_again": clients.again,
        "seconds_to_the_next_answer": [round(min(away), 2), round(max(away), 2)],
        "status_at_the_end": server.wait(),
    }


def main() -> None:
    parser = runtime_arguments(__doc__, seconds=300.0)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--kills", type=int, default=10)
    told = "seconds of the run in one go, in which others ask, too (default: %(default)g)"
    parser.add_argument("--long", type=float, default=600.0, help=told)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed. Run: apt install wrk")
    # Servers are ended whatever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    data = np.ascontiguousarray(load_dataset(arguments.data, "val").faces[:1024])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        body, length = request_of(data[:FACES])
        text = json.dumps({"faces": base64.b64encode(data[:FACES].tobytes()).decode()})
        for script, kind, content in (
            ("ask", "application/octet-stream", body),
            ("json", "application/json", text.encode()),
        ):
            (folder / script).write_bytes(content)
            lua = LUA.format(body=folder / script, kind=kind, length=length)
            (folder / f"{script}.lua").write_text(lua)
        result = measure(data, arguments.seconds, arguments.turns, folder)
        result["in_one_go"] = measure_long(data, arguments.long, folder)
    result["killed"] = kill(data, arguments.kills)
    record(arguments.out / "serving.json", result)
    full = result["one_caller_faces_per_second"]
    print(f"\nOne caller, batches of {BATCH}: {full:,.0f} faces/s\n")
    columns = [f"{CLIENTS} clients, {FACES} faces a request", "faces/s", "p50 ms", "p99 ms"]
    rows = [
        [
            name,
            f"{row['faces_per_second']:,.0f}",
            f"{row['p50_ms']:.0f}",
            f"{row['p99_ms']:.0f}",
            f"{row['server_cpu_ms']:.2f} + {row['client_cpu_ms']:.2f}",
            f"{row['bad_status'] + row['socket_errors']:,.0f} of {row['requests']:,.0f}",
        ]
        for name, row in result["rows"].items()
    ]
    print(table([*columns, "CPU ms, server + client", "errors"], rows))
    print(f"\nOf one caller: {100 * result['share_of_one_caller']:.0f} %; {result['killed']}")
    print(f"One caller takes {result['one_caller_cpu_ms']:.2f} ms of CPU for {FACES} faces.")


if __name__ == "__main__":
    main()
