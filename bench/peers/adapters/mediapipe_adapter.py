# /// script
# dependencies = ["mediapipe==0.10.21"]
#
# [tool.peer]
# package = "mediapipe"
# licence = "Apache-2.0"
# detectors = { "BlazeFace, near" = "BlazeFace", "BlazeFace, far" = "BlazeFace" }
# ///
"""MediaPipe's face detection, for faces up to two and five metres away.

Of release 1.2.3 the wheel has neither this interface nor weights.
"""

from protocol import serve


def detector(variant):
    import cv2
    from mediapipe import solutions

    detection = solutions.face_detection.FaceDetection(model_selection=int(variant.endswith("far")))

    def detect(frame):
        height, width = frame.shape[:2]
        found = detection.process(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).detections or []
        boxes = [(one.location_data.relative_bounding_box, one.score[0]) for one in found]
        return [
            (b.xmin * width, b.ymin * height, b.width * width, b.height * height, score)
            for b, score in boxes
        ]

    return detect


serve(detector)
