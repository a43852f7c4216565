"""Headless Chromium, driven by its DevTools protocol."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

client = pytest.importorskip("websockets.sync.client", reason="needs the extra web")

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")


class Chromium:
    """One tab. A context manager."""

    def __init__(self, profile: Path) -> None:
        assert PROGRAM is not None
        flags = ["--headless=new", "--no-first-run", "--disable-gpu", "--remote-debugging-port=0"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # root has none
        self._process = subprocess.Popen(
            [PROGRAM, *flags, f"--user-data-dir={profile}", "about:blank"],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        address = next(
            line.split()[-1] for line in self._process.stderr if line.startswith("DevTools")
        )
        host = address.split("/")[2]
        with urllib.request.urlopen(f"http://{host}/json/list") as answer:
            (tab, *_) = [tab for tab in json.load(answer) if tab["type"] == "page"]
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(
            client.connect(tab["webSocketDebuggerUrl"], max_size=None, compression=None)
        )
        self._numbers = itertools.count(1)
        self.errors: list[str] = []
        """What scripts threw and what the console was told to be wrong."""
        self.call("Runtime.enable")
        self.call("Log.enable")

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": values}))
        while True:
            answer = json.loads(self._socket.recv(timeout=30))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            told = json.dumps(answer.get("params", {}))
            wrong = answer["method"] == "Log.entryAdded" and '"level": "error"' in told
            if wrong or answer["method"] == "Runtime.exceptionThrown":
                self.errors.append(told)

    def open(self, url: str, *, width: int, height: int, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 30) -> None:
        """Until JavaScript finds this true; what it throws counts as not yet."""
        end = time.monotonic() + seconds
        while not self.evaluate(f"(() => {{ try {{ return !!({expression}) }} catch {{}} }})()"):
            assert time.monotonic() < end, f"{expression} has not come to be: {self.errors}"
            time.sleep(0.05)

    def screenshot(self, path: Path) -> None:
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
        self._process.terminate()
        self._process.wait(10)
