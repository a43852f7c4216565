import os
import signal
from pathlib import Path

import pytest

# A shell starts its background jobs with Ctrl-C ignored, which children inherit; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


# What "auto" takes must not depend on how fast this machine is just now; tests of it say so.
os.environ["FER_EDGE_TUNE"] = "0"


@pytest.fixture(scope="session")
def fer2013() -> Path:
    path = Path(os.environ.get("FER_EDGE_DATA", "/nowhere")) / "fer2013.zip"
    if not path.is_file():
        pytest.skip("needs FER2013: set FER_EDGE_DATA to the folder of fer2013.zip")
    return path
