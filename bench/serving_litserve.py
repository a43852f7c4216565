"""A server that others would write: LitServe, with its batching.

    python bench/serving_litserve.py PORT GRAPH

Takes the faces as LitServe takes bytes: in JSON, by base64.
"""

import base64
import sys

import litserve
import numpy as np
from serving_fastapi import open_session

BATCH = 16
"""Requests of four faces: 64 faces, as many as of fer-edge serve."""


class Faces(litserve.LitAPI):
    def __init__(self, graph: str) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=0.002)
        self.graph = graph

    def setup(self, device: str) -> None:
        del device
        self.session = open_session(self.graph)

    def decode_request(self, request: dict[str, str]) -> np.ndarray:
        return np.frombuffer(base64.b64decode(request["faces"]), np.uint8).reshape(-1, 1, 48, 48)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, faces: np.ndarray) -> np.ndarray:
        found = self.session.run(None, {"faces": faces.reshape(-1, *faces.shape[-3:])})[0]
        return found.reshape(*faces.shape[:-3], -1)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict[str, object]:
        return {"data": output.ravel().tolist()}


if __name__ == "__main__":
    port, graph = sys.argv[1:]
    server = litserve.LitServer(Faces(graph), accelerator="cpu")
    server.run(port=int(port), log_level="error", generate_client_file=False)
