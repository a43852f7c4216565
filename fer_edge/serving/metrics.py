"""What a service counts, for Prometheus.

https://prometheus.io/docs/practices/naming/
"""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_FACES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts of one service, by model; requests that name no known model have the empty name."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._found: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        # Memory and open files of the process, where the system tells them.
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "fer_edge_requests",
            "Requests answered, by route and status.",
            ["model", "route", "code"],
            registry=self._registry,
        )
        self._latency = Histogram(
            "fer_edge_request_seconds",
            "From a request's head to its answer.",
            ["model", "route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batch_faces = Histogram(
            "fer_edge_batch_faces",
            "Faces of a call of the engine.",
            ["model"],
            buckets=_FACES,
            registry=self._registry,
        )
        self._batch_seconds = Histogram(
            "fer_edge_batch_seconds",
            "Time of a call of the engine.",
            ["model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._queue = Gauge(
            "fer_edge_queue_faces", "Faces not yet answered.", ["model"], registry=self._registry
        )
        self._photos = Gauge(
            "fer_edge_queue_photos", "Photos not yet answered.", registry=self._registry
        )
        self._dropped = Counter(
            "fer_edge_dropped",
            "Requests without the answer that they asked for: queue_full, deadline, client_gone.",
            ["model", "reason"],
            registry=self._registry,
        )
        self._loads = Counter(
            "fer_edge_model_loads",
            "Times that a model was loaded, by outcome.",
            ["model", "outcome"],
            registry=self._registry,
        )

    def answered(self, model: str, route: str, code: int, seconds: float) -> None:
        """A request has been answered."""
        key = (model, route, code)
        found = self._found.get(key)
        if found is None:
            # To look labels up takes longer than to count.
            count, latency = self._requests.labels(*key), self._latency.labels(model, route)
            found = self._found[key] = count, latency
        found[0].inc()
        found[1].observe(seconds)

    def dropped(self, model: str, reason: str) -> None:
        """A request did not get what it asked for."""
        self._dropped.labels(model, reason).inc()

    def loaded(self, model: str, outcome: str) -> None:
        """A model was loaded, or could not be."""
        self._loads.labels(model, outcome).inc()

    def batches_of(self, model: str) -> Callable[[int, float], None]:
        """What a Recognizer tells its batches to."""
        faces, seconds = self._batch_faces.labels(model), self._batch_seconds.labels(model)

        def tell(count: int, spent: float) -> None:
            faces.observe(count)
            seconds.observe(spent)

        return tell

    def watch_queue(self, model: str, faces: Callable[[], int]) -> None:
        """Ask for the length of a model's queue when it is read."""
        self._queue.labels(model).set_function(faces)

    def watch_photos(self, photos: Callable[[], int]) -> None:
        """Ask for the number of photos when it is read."""
        self._photos.set_function(photos)

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self._registry)
