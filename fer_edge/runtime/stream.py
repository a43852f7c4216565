"""What is remembered of a camera that is watched, and of its frames under way."""

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future

import numpy as np

from fer_edge.contract import Contract
from fer_edge.engines.base import Faces, Probabilities
from fer_edge.engines.frames import Crops, crop
from fer_edge.pixels.boxes import Box
from fer_edge.runtime.capture import Camera, Frame
from fer_edge.runtime.detection import Pixels
from fer_edge.runtime.looking import Found, Lookers
from fer_edge.runtime.moment import Moment, SeenFace, blank_frame
from fer_edge.runtime.smoothing import Smoother
from fer_edge.runtime.tracking import Tracker

MOST_FRAMES_UNDETECTED = 10
_SHARE_OF_NEWEST = 0.2
"""Of the newest measurement in the running means of times."""


class Stream:
    """What is remembered of one camera."""

    def __init__(
        self,
        classify: Callable[[Faces | Crops, bool], Probabilities],
        camera: Camera,
        lookers: Lookers,
        smoother: Callable[[], Smoother],
        every: int | None,
        cameras: int,
        contract: Contract,
    ) -> None:
        self._contract = contract
        self.camera = camera
        self._started = time.monotonic()
        self.served = self._started
        """When a frame of it was last taken."""
        self.told = self._started
        """When something was last told of it."""
        self._counted = not camera.live and camera.length is not None
        self._classify = classify
        self._lookers = lookers
        self._new_smoother = smoother
        self._every = every or (None if camera.live else 1)
        self._cameras = cameras
        self._undetected = math.inf
        self.looks: deque[Look] = deque()
        """Its frames under way, in order."""
        self.ended = False
        """No frame will come any more."""
        self.failure: Exception | None = None
        """Why, where its source failed."""
        self._forget()
        self._before: Frame | None = None
        self._interval = Mean()
        self._detecting = Mean()
        self._classifying = Mean()

    def _forget(self) -> None:
        self._tracker = Tracker()
        self._smoother = self._new_smoother()
        self._faces: dict[int, SeenFace] = {}

    def take(self) -> "Look | None":
        """Begin with its next frame; None where there is none."""
        self.served = time.monotonic()
        try:
            frame = self.camera.read(timeout=0)
        except Exception as error:  # told once its frames before have been
            frame, self.failure = None, error
        if frame is None:
            self.ended = not self.camera.live or self.failure is not None
            return None
        # What has a length but no times is a folder, whose photos have nothing to do with another.
        alone = self._counted and frame.position is None
        asked = alone or self.detects_next
        if self._before is not None:
            passed = frame.index - self._before.index
            self._interval.add((frame.captured - self._before.captured) / max(passed, 1))
        self._before = frame
        self._undetected = 0 if asked else self._undetected + 1
        # Where the detector is asked in this thread, it has answered when ``look`` returns.
        begun = time.monotonic()
        found = self._lookers.look(frame.image) if asked else None
        look = Look(self, frame, alone, found, begun)
        self.looks.append(look)
        return look

    @property
    def detects_next(self) -> bool:
        """Whether the detector is asked about its next frame."""
        return self._undetected + 1 >= (self._every or self._frames_to_next())

    @property
    def may_begin(self) -> bool:
        """Whether its next frame can be of use now.

        One that is not detected waits for those before it, and a live one is better not taken then.
        """
        return not self.ended and (not self.looks or not self.camera.live or self.detects_next)

    def see(self, look: "Look") -> Moment | None:
        """What the first of its frames under way shows; None where its faces were given up."""
        self.looks.remove(look)
        if look.alone:
            self._forget()
        frame, now = look.frame, look.frame.time
        boxes: list[Box]
        scores: list[float] | list[None]
        pixels: Pixels = frame.image
        if look.found is not None:
            found = look.found.result()
            self._detecting.add(found.seconds)
            pixels = found.pixels
            boxes = [detection.box for detection in found.faces]
            scores = [detection.score for detection in found.faces]
            tracks = self._tracker.update(boxes, now)
        else:
            expected = self._tracker.predict(now)
            boxes, tracks, scores = [*expected.values()], [*expected], [None] * len(expected)
        started = time.perf_counter()
        try:
            crops = crop(pixels, boxes, self._contract)
            probabilities = self._classify(crops, self.camera.live)
        except CancelledError:
            return None
        if boxes:
            self._classifying.add(time.perf_counter() - started)
        faces: list[SeenFace] = []
        for track, box, score, raw in zip(tracks, boxes, scores, probabilities, strict=True):
            smooth, label = self._smoother.update(track, raw, now)
            faces.append(
                SeenFace(*(track, box, score, label, smooth, raw), classes=self._contract.labels)
            )
        faces += [
            dataclasses.replace(self._faces[track], box=box, score=None, seen=False)
            for track, box in self._tracker.missed(now).items()
            if track in self._faces
        ]
        self._faces = {face.track: face for face in faces}
        self._smoother.keep(self._tracker.alive)
        self.told = time.monotonic()
        return Moment(frame, faces, self.told, classes=self._contract.labels)

    @property
    def silent(self) -> bool:
        """It is live and has no frame."""
        return self.camera.live and self.camera.waiting_since is None

    @property
    def rate(self) -> float:
        """Live frames a second, as far as known."""
        return 1 / self._interval.value if self.camera.live and self._interval.value else 0.0

    def age(self, now: float) -> float:
        """Seconds that its frame has waited; a recording's waits until it is asked for."""
        return now - (self.camera.waiting_since or now)

    def check(self) -> None:
        """Raise what the engine would."""
        nothing = np.empty((0, *self._contract.crop_shape), np.uint8)
        self._classify(nothing, self.camera.live)

    def beat(self) -> Moment:
        """What can be said of a camera that has been silent."""
        self.told = time.monotonic()
        frame = self._before or blank_frame(self.camera.name, self._started)
        return Moment(frame, [], self.told, self.camera.state, self._contract.labels)

    def _frames_to_next(self) -> int:
        """How many frames a detection may serve so that the cameras are kept up with."""
        budget = self._interval.value / self._cameras - self._classifying.value
        if budget <= 0:
            return MOST_FRAMES_UNDETECTED if self._detecting.value else 1
        detecting = self._detecting.value / self._lookers.at_once
        return min(max(math.ceil(detecting / budget), 1), MOST_FRAMES_UNDETECTED)

    @property
    def superseded(self) -> bool:
        """It is live, and there is a newer frame than the first of those under way."""
        return self.camera.live and (len(self.looks) > 1 or self.camera.waiting_since is not None)

    def give_up(self, look: "Look") -> None:
        """Pass over a frame under way, whose faces are known."""
        self.looks.remove(look)
        self.camera.give_up()


class Look:
    """A frame under way."""

    def __init__(
        self,
        stream: Stream,
        frame: Frame,
        alone: bool,
        found: "Future[Found] | None",
        begun: float,
    ) -> None:
        self.stream = stream
        self.frame = frame
        self.alone = alone
        """It has nothing to do with the frames before it."""
        self.found = found
        """None where the detector was not asked."""
        self.begun = begun

    @property
    def known(self) -> bool:
        """Whether the detector has answered, or was not asked."""
        return self.found is None or self.found.done()

    @property
    def answered(self) -> float:
        """When it had, by ``time.monotonic()``; raises what it raised."""
        return self.begun if self.found is None else self.found.result().ended


class Mean:
    """A running mean in seconds; 0 before the first value."""

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, seconds: float) -> None:
        share = _SHARE_OF_NEWEST if self.value else 1.0
        self.value += share * (seconds - self.value)
