"""What is on a GPU, or made there, and goes into a network without passing through the host."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from fer_edge.engines import cuda


class OnGpu(ABC):
    """A batch for one input of a network on the same GPU."""

    @property
    @abstractmethod
    def number(self) -> int:
        """How many rows it has: faces or frames."""

    @property
    @abstractmethod
    def row_bytes(self) -> int:
        """Of one row in the network's input."""

    @abstractmethod
    def part(self, start: int, number: int) -> "OnGpu":
        """At most ``number`` of them from ``start`` on."""

    @abstractmethod
    def queue(self, stream: cuda.Stream, target: int) -> None:
        """Queue what writes the rows to an address, once they are there to be read.

        Called inside ``with device``. Who calls it waits for ``stream`` before this may go.
        """

    def __len__(self) -> int:
        return self.number


class Joined(OnGpu):
    """Batches one after the other."""

    def __init__(self, batches: Sequence[OnGpu]) -> None:
        self._batches = batches

    @property
    def number(self) -> int:
        return sum(batch.number for batch in self._batches)

    @property
    def row_bytes(self) -> int:
        return self._batches[0].row_bytes

    def part(self, start: int, number: int) -> "Joined":
        """At most ``number`` rows from ``start`` on."""
        parts, end = [], start + number
        for batch in self._batches:
            if start < batch.number and end > 0:
                first = max(start, 0)
                parts.append(batch.part(first, min(end, batch.number) - first))
            start, end = start - batch.number, end - batch.number
        return Joined(parts)

    def queue(self, stream: cuda.Stream, target: int) -> None:
        """Queue each, at its place."""
        for batch in self._batches:
            batch.queue(stream, target)
            target += batch.number * batch.row_bytes
