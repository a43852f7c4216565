"""How much a service takes."""

import sys
from dataclasses import dataclass, fields

from fer_edge.errors import UsageError

_LARGEST = sys.float_info.max / 1e6
"""A million times it is still finite, as bytes and pixels must be to become integers."""


@dataclass(frozen=True)
class Limits:
    """What is asked beyond these is refused at once, with what would be taken.

    Raises
    ------
    UsageError
        A limit that is not positive, or not finite.
    """

    queue: int = 512
    """Faces of a model that are accepted and not yet answered, at a time; also the most faces of a
    request. What does not fit gets 429."""
    photos: int = 16
    """Photos that are accepted and not yet answered, at a time."""
    megabytes: float = 32.0
    """Of a request's body, in 10**6 bytes."""
    megapixels: float = 50.0
    """Of a photo; looked at before it is decoded."""
    timeout: float = 30.0
    """Seconds from a request's head to its answer; a request may ask for less. So long may a body
    take, and what is under way at the end."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise UsageError(f"{field.name} must be more than 0, got {value}.")
            if value > _LARGEST:
                raise UsageError(
                    f"{field.name} must be a finite number, got {value}.",
                    hint="Say 1e9 to have no limit in effect.",
                )

    @property
    def bytes(self) -> int:
        return int(self.megabytes * 1e6)

    @property
    def pixels(self) -> int:
        return int(self.megapixels * 1e6)
