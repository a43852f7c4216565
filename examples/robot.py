"""A robot that reacts to whoever stands nearest, once their expression has settled.

    pip install '.[camera]'
    python examples/robot.py            # camera 0; or rtsp://..., csi://0 on Jetson

Ctrl-C stops it.
"""

import contextlib
import math
import sys

from fer_edge import Camera, Recognizer

SETTLED = 1.0
"""Seconds of one emotion."""
REACTIONS = {"happy": "waves", "angry": "backs away", "fear": "stops", "sad": "comes closer"}


def act(emotion: str) -> None:
    print(f"{emotion}: {REACTIONS.get(emotion, 'waits')}", flush=True)


def main(source: str = "0") -> None:
    seen, since = None, math.inf
    with (
        contextlib.suppress(KeyboardInterrupt),
        Camera(source) as camera,
        Recognizer() as recognizer,
    ):
        for moment in recognizer.watch(camera):
            if not moment.faces:
                continue
            face = max(moment.faces, key=lambda face: face.box.width * face.box.height)
            if (face.track, face.emotion) != seen:
                seen, since = (face.track, face.emotion), moment.frame.captured
            elif moment.frame.captured - since >= SETTLED:
                act(face.emotion)
                since = math.inf  # once


if __name__ == "__main__":
    main(*sys.argv[1:])
