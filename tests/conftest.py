import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

# A shell starts its background jobs with Ctrl-C ignored, which children inherit; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


# What "auto" takes must not depend on how fast this machine is just now; tests of it say so.
os.environ["FER_EDGE_TUNE"] = "0"
# Nor on what a user's cache holds.
os.environ["FER_EDGE_CACHE"] = tempfile.mkdtemp(prefix="fer-edge-tests-")
atexit.register(shutil.rmtree, os.environ["FER_EDGE_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def fer2013() -> Path:
    path = Path(os.environ.get("FER_EDGE_DATA", "/nowhere")) / "fer2013.zip"
    if not path.is_file():
        pytest.skip("needs FER2013: set FER_EDGE_DATA to the folder of fer2013.zip")
    return path


@pytest.fixture(scope="session")
def made_detector() -> None:
    """The default detector, made already for small frames of the usual shapes."""
    pytest.importorskip("retinaface", reason="needs the extra camera")
    pytest.importorskip("onnx", reason="needs the extra camera")
    from fer_edge.detection import making
    from fer_edge.detector_contract import Bucket

    for size in (Bucket(320, 192), Bucket(320, 256)):
        making.made_detector(size)
