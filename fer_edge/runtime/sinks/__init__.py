"""Where moments go: a window, a video, JSON lines, an MQTT broker."""

from fer_edge.runtime.sinks.base import Sink
from fer_edge.runtime.sinks.json_lines import JsonLines
from fer_edge.runtime.sinks.mqtt import Mqtt
from fer_edge.runtime.sinks.video import Video
from fer_edge.runtime.sinks.window import Window

__all__ = ["JsonLines", "Mqtt", "Sink", "Video", "Window"]
