"""A server that others would write: FastAPI, and ONNX Runtime in the thread of each request.

    python bench/serving_fastapi.py PORT GRAPH

Takes the same bytes as ``fer-edge serve``: JSON whose length is told in a header, then the faces.
"""

import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool


def open_session(graph: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # As fer-edge has it; without, each is slower beside a client on the same cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def faces_of(body: bytes, json_length: str) -> np.ndarray:
    return np.frombuffer(body, np.uint8, offset=int(json_length)).reshape(-1, 1, 48, 48)


def main() -> None:
    port, graph = sys.argv[1:]
    session = open_session(graph)
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, object]:
        faces = faces_of(await request.body(), request.headers["inference-header-content-length"])
        (found,) = await run_in_threadpool(session.run, None, {"faces": faces})
        return {"data": found.ravel().tolist()}

    @app.get("/health")
    def health() -> str:
        return "ok"

    uvicorn.run(app, port=int(port), log_level="error", access_log=False)


if __name__ == "__main__":
    main()
