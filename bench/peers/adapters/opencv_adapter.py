# /// script
# dependencies = ["opencv-python-headless==4.14.0.94"]
#
# [tool.peer]
# package = "opencv-python-headless"
# licence = "Apache-2.0"
# detectors = { "Haar" = "Viola-Jones", "YuNet" = "YuNet" }
# ///
"""OpenCV's own: the cascade that its wheel carries (gone in OpenCV 5), and YuNet, whose weights
its wheel does not carry."""

from pathlib import Path

from protocol import serve


def detector(variant):
    import cv2

    cv2.setNumThreads(1)
    if variant == "YuNet":
        found = sorted(Path("~").expanduser().glob("face_detection_yunet*.onnx"))
        if not found:
            raise FileNotFoundError("the wheel has no face_detection_yunet*.onnx, nor has ~")
        yunet = cv2.FaceDetectorYN.create(str(found[-1]), "", (320, 320), 0.7)

        def find(frame):
            yunet.setInputSize(frame.shape[1::-1])
            found = yunet.detect(frame)[1]
            return [] if found is None else found[:, [0, 1, 2, 3, 14]]

        return find
    name = "haarcascade_frontalface_default.xml"
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + name)

    def detect(frame):
        # The values of OpenCV's own example.
        gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
        return [(*map(float, box), 1.0) for box in cascade.detectMultiScale(gray, 1.1, 5)]

    return detect


serve(detector)
