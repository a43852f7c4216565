"""A window with a camera's picture, its faces and their expressions, which never freezes.

    pip install '.[camera]'             # and, on Debian, apt install python3-tk
    python examples/window.py           # camera 0; or rtsp://..., csi://0, a recording

A thread opens the camera and watches it; the window takes the newest moment whenever it is free.
In Qt, a QTimer takes the place of `after`; the Watcher stays as it is.
"""

import signal
import sys
import threading
import tkinter as tk
from collections import deque

import numpy as np
from PIL import Image, ImageOps, ImageTk

from fer_edge import Camera, Moment, Recognizer
from fer_edge.errors import FerEdgeError

POLL_MS = 15


class Watcher:
    """Watches a camera in a thread and keeps the newest moment only."""

    def __init__(self, source: str) -> None:
        self._error = ""
        self._newest: deque[Moment] = deque(maxlen=1)
        self._camera: Camera | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=[source])
        self._thread.start()

    def take(self) -> Moment | None:
        """The newest moment that was not taken yet."""
        try:
            return self._newest.pop()
        except IndexError:
            return None

    @property
    def state(self) -> str:
        """How the camera is, or why it is not."""
        if self._camera is None:
            return self._error or "opening"
        return self._error or self._camera.state.value

    def stop(self) -> None:
        self._stop.set()
        if self._camera is not None:
            self._camera.close()

    def join(self) -> None:
        self._thread.join()

    def _watch(self, source: str) -> None:
        try:
            with Camera(source) as self._camera, Recognizer() as recognizer:
                if self._stop.is_set():  # while the camera was being opened
                    return
                for moment in recognizer.watch(self._camera):
                    self._newest.append(moment)
        except FerEdgeError as error:
            self._error = str(error)


class Window(tk.Tk):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.title(f"FER-Edge: {source}")
        self.canvas = tk.Canvas(self, width=960, height=540, background="black")
        self.canvas.pack(fill="both", expand=True)
        self.status = tk.Label(self, anchor="w")
        self.status.pack(fill="x")
        self.protocol("WM_DELETE_WINDOW", self.close)
        self.seen = ""
        self.watcher = Watcher(source)
        self.poll()

    def poll(self) -> None:
        moment = self.watcher.take()
        if moment is not None:
            self.show(moment)
            self.seen = f": {len(moment.faces)} faces, {moment.age_ms:.0f} ms old"
        self.status["text"] = self.watcher.state + self.seen
        self.next_poll = self.after(POLL_MS, self.poll)

    def show(self, moment: Moment) -> None:
        pixels = moment.frame.image
        picture = Image.fromarray(
            np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[..., ::-1])
        )
        size = self.canvas.winfo_width(), self.canvas.winfo_height()
        fitted = ImageOps.contain(picture, size, Image.Resampling.BILINEAR)
        scale = fitted.width / picture.width
        self.photo = ImageTk.PhotoImage(fitted)  # Tk itself keeps no reference
        self.canvas.delete("all")
        self.canvas.create_image(0, 0, image=self.photo, anchor="nw")
        for face in moment.faces:
            x, y, width, height = (scale * value for value in face.box)
            self.canvas.create_rectangle(x, y, x + width, y + height, outline="lime", width=2)
            text = f"{face.emotion} {face.probabilities[face.label]:.0%}"
            self.canvas.create_text(x, y - 4, text=text, fill="lime", anchor="sw")

    def close(self) -> None:
        self.after_cancel(self.next_poll)
        self.destroy()
        self.watcher.stop()


def main(source: str = "0") -> None:
    window = Window(source)
    signal.signal(signal.SIGINT, lambda *_: window.after(0, window.close))
    window.mainloop()
    # As long as the thread runs, its garbage collection could free the window, and Tk aborts.
    window.watcher.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
