"""Record whether cuda-bindings let other threads run while they wait for a stream.

The driver is a stand-in, made by gcc, whose streams take half a second:

    pip download --no-deps --dest wheels cuda-bindings==12.9.0
    python tests/engines/cuda/record_waiting.py wheels/*.whl
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

RECORDED = Path(__file__).with_name("waiting.json")
STUB = Path(__file__).with_name("stub_driver.c")
ROOT = Path(__file__).parents[3]
COUNT = """
import json, threading, time
from cuda.bindings import driver
from fer_edge.engines.cuda.driver import Driver

def ticks_during(wait):
    count, stop = [0], threading.Event()
    def tick():
        while not stop.is_set():
            time.sleep(0.001)
            count[0] += 1
    thread = threading.Thread(target=tick)
    thread.start()
    time.sleep(0.05)
    before = count[0]
    wait()
    found = count[0] - before
    stop.set()
    thread.join()
    return found

ours = Driver("cuda.bindings")
print(json.dumps({
    "ticks_of_a_thread_in_half_a_second": {
        "cuda-bindings": ticks_during(lambda: driver.cuStreamSynchronize(1)),
        "fer-edge": ticks_during(lambda: ours.wait(1)),
    }
}))
"""


def build_stub(folder: Path) -> None:
    """Make ``folder/libcuda.so.1``."""
    library = str(folder / "libcuda.so.1")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, str(STUB), "-ldl"], check=True)


def measure(stub: Path, bindings: Path | None = None) -> dict[str, dict[str, int]]:
    """Count with the bindings in a folder, or with those installed."""
    folders = [str(folder) for folder in (bindings, ROOT) if folder is not None]
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(stub),
        "PYTHONPATH": os.pathsep.join(folders),
    }
    done = subprocess.run(
        [sys.executable, "-c", COUNT], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def main() -> None:
    found = {}
    with tempfile.TemporaryDirectory() as name:
        build_stub(Path(name))
        for wheel in map(Path, sys.argv[1:]):
            with tempfile.TemporaryDirectory() as folder:
                zipfile.ZipFile(wheel).extractall(folder)
                version = wheel.name.split("-")[1]
                found[version] = measure(Path(name), Path(folder))
                print(version, found[version])
    order = sorted(found, key=lambda version: [int(part) for part in re.findall(r"\d+", version)])
    RECORDED.write_text(json.dumps({version: found[version] for version in order}, indent=1) + "\n")


if __name__ == "__main__":
    main()
