# /// script
# dependencies = ["fer==25.10.3", "setuptools<81"]
#
# [tool.peer]
# package = "fer"
# licence = "MIT"
# detectors = { "Haar" = "Viola-Jones", "MTCNN" = "MTCNN" }
# classifiers = ["TFLite"]
# ///
"""fer at its defaults. Of a face that fills its picture, nothing around it is wanted: offsets 0.

The same network by Keras (use_tflite=False) takes about sixty times as long.
"""

from protocol import serve


def detector(variant):
    from fer.fer import FER

    fer = FER(mtcnn=variant == "MTCNN")

    def detect(frame):
        # It tells no scores.
        return [(*map(float, box), 1.0) for box in fer.find_faces(frame)]

    return detect


def classifier(variant):
    import cv2
    from fer.fer import FER

    del variant
    fer = FER(offsets=(0, 0))
    labels = list(fer._get_labels().values())

    def classify(face):
        bgr = cv2.cvtColor(face, cv2.COLOR_GRAY2BGR)
        (found,) = fer.detect_emotions(bgr, face_rectangles=[(0, 0, *face.shape[::-1])])
        return [found["emotions"][label] for label in labels]

    return labels, classify


serve(detector, classifier)
