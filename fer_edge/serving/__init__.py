"""Models as a service that others call over HTTP: :class:`Service`."""

from fer_edge.serving.limits import Limits
from fer_edge.serving.models import Source
from fer_edge.serving.service import Service

__all__ = ["Limits", "Service", "Source"]
