"""Frames from cameras, streams, files and programs: :class:`Camera`."""

from fer_edge.runtime.capture.base import Frame, Reader, Source, State
from fer_edge.runtime.capture.camera import Camera
from fer_edge.runtime.capture.feed import Feed
from fer_edge.runtime.capture.sources import find_source

__all__ = ["Camera", "Feed", "Frame", "Reader", "Source", "State", "find_source"]
