"""Moments published to an MQTT broker."""

import importlib
import threading
from typing import Any
from urllib.parse import unquote

from fer_edge.errors import MissingDependencyError, OutputError, UsageError
from fer_edge.runtime.capture.address import split_address, without_password
from fer_edge.runtime.moment import Moment

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_PATIENCE = 10.0
"""Seconds that a broker has to answer."""


class Mqtt:
    """Publishes each moment as JSON (:meth:`Moment.to_json`), at most once (QoS 0).

    A broker that is lost is connected to again; moments in the meantime are not sent later, as
    they would be old.

    Parameters
    ----------
    address : str
        ``mqtt://[user[:password]@]host[:port][/topic]``, or ``mqtts://`` with TLS. The topic is
        ``fer-edge`` by default.

    Raises
    ------
    MissingDependencyError
        paho-mqtt is not installed.
    OutputError
        No broker answers there, or it refuses the user.
    UsageError
        Not such an address.
    """

    def __init__(self, address: str) -> None:
        parts = split_address(address)
        shown = without_password(address)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise UsageError(
                f"{shown} is no address of an MQTT broker.", hint="Give mqtt://host/topic"
            )
        port = parts.port or _PORTS[parts.scheme]
        try:
            mqtt = importlib.import_module("paho.mqtt.client")
        except ImportError as error:
            raise MissingDependencyError(
                f"MQTT needs paho-mqtt: {error}.", hint="Run: pip install 'fer-edge[mqtt]'"
            ) from error
        self._topic = unquote(parts.path.strip("/")) or "fer-edge"
        self._client: Any = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        if parts.username:
            password = None if parts.password is None else unquote(parts.password)
            self._client.username_pw_set(unquote(parts.username), password)
        if parts.scheme == "mqtts":
            self._client.tls_set()
        answered = threading.Event()
        answers: list[Any] = []

        def on_connect(_client: Any, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
            answers.append(reason)
            answered.set()

        self._client.on_connect = on_connect
        hint = "Check the address, and that the broker runs."
        try:
            self._client.connect(parts.hostname, port)
        except OSError as error:
            raise OutputError(f"{shown} cannot be connected to: {error}.", hint=hint) from error
        self._client.loop_start()
        if not answered.wait(_PATIENCE) or answers[0].is_failure:
            self.close()
            raise OutputError(
                f"{shown} does not let us in: {answers[0] if answers else 'no answer'}.", hint=hint
            )

    def show(self, moment: Moment) -> None:
        if self._client.is_connected():
            self._client.publish(self._topic, moment.to_json())

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
