"""The machine, and the project's own tests on it."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fer_edge.engines import backend_status, cuda
from fer_edge.errors import FerEdgeError
from gpu_steps.step import need, need_gpu

ROOT = Path(__file__).parents[2]


def machine(_work: Path, _seconds: float) -> dict[str, Any]:
    """What the driver says of each GPU, and what every backend can do."""
    try:
        count = cuda.driver.driver().call("cuDeviceGetCount")
        gpus: Any = [asdict(cuda.describe_gpu(index)) for index in range(count)]
    except FerEdgeError as error:
        gpus = str(error)
    return {"gpus": gpus, "backends": [asdict(status) for status in backend_status()]}


def tests(work: Path, _seconds: float) -> dict[str, Any]:
    """Outcomes of the tests that are marked gpu, and the names of those that fail."""
    need_gpu()
    need("pytest")
    report = work / "tests.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "gpu", f"--junitxml={report}", "tests/engines"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    cases = list(ElementTree.parse(report).iter("testcase"))
    bad = [
        case for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = [case.find("skipped") for case in cases if case.find("skipped") is not None]
    return {
        "run": len(cases) - len(skipped),
        "skipped": sorted({str(one.get("message")) for one in skipped if one is not None}),
        "failed": [f"{case.get('classname')}::{case.get('name')}" for case in bad],
        "output": done.stdout[-4000:] if bad else "",
    }
