"""GStreamer pipelines as strings."""

from urllib.parse import parse_qsl

from fer_edge.errors import UsageError
from fer_edge.runtime.capture.address import split_address

CSI_DEFAULTS = {"width": 1280, "height": 720, "fps": 30, "flip": 0}


def is_pipeline(text: str) -> bool:
    """Elements of a pipeline are joined by exclamation marks."""
    return " ! " in text


def csi_pipeline(address: str) -> str:
    """Pipeline of a Jetson's CSI camera: ``csi://SENSOR?width=&height=&fps=&flip=``.

    Frames stay in the memory of the image processor (NVMM) until they have their size; the sink
    keeps the newest one only. ``flip`` is nvvidconv's flip-method, 0 to 7.

    References
    ----------
    NVIDIA Jetson Linux Developer Guide, "Accelerated GStreamer", sections on nvarguscamerasrc and
    nvvidconv.

    Raises
    ------
    UsageError
        Not a number of a sensor, or an option that there is not.
    """
    parts = split_address(address)
    values = dict(CSI_DEFAULTS)
    for name, value in [("sensor", parts.netloc or "0"), *parse_qsl(parts.query)]:
        if name not in {*values, "sensor"}:
            raise UsageError(
                f"{address}: a CSI camera has no option {name}.",
                hint=f"Options are {', '.join(CSI_DEFAULTS)}.",
            )
        if not value.isdecimal():
            raise UsageError(f"{address}: {name} {value!r} is no number.", hint="Say csi://0.")
        values[name] = int(value)
    if values["flip"] > 7:
        raise UsageError(f"{address}: there is no flip {values['flip']}.", hint="Give 0 to 7.")
    return (
        f"nvarguscamerasrc sensor-id={values['sensor']} "
        f"! video/x-raw(memory:NVMM),width={values['width']},height={values['height']},"
        f"framerate={values['fps']}/1 "
        f"! nvvidconv flip-method={values['flip']} ! video/x-raw,format=BGRx "
        "! videoconvert ! video/x-raw,format=BGR "
        "! appsink drop=true max-buffers=1 sync=false"
    )
