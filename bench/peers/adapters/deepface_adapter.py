# /// script
# dependencies = ["deepface[api]==0.0.103", "opencv-contrib-python-headless==4.13.0.92"]
#
# [tool.peer]
# package = "deepface"
# licence = "MIT"
# detectors = { "opencv" = "Viola-Jones" }
# classifiers = ["Emotion"]
# ///
"""deepface with its default detector, by its public functions."""

from protocol import serve


def detector(variant):
    from deepface import DeepFace

    def detect(frame):
        # Where it finds no face it gives the whole frame, with a confidence of 0.
        found = DeepFace.extract_faces(frame, detector_backend=variant, enforce_detection=False)
        rows = [(face["facial_area"], face["confidence"]) for face in found]
        return [(a["x"], a["y"], a["w"], a["h"], score) for a, score in rows if score > 0]

    return detect


def classifier(variant):
    import cv2
    from deepface import DeepFace

    DeepFace.build_model(task="facial_attribute", model_name=variant)
    labels = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]

    def classify(face):
        (found,) = DeepFace.analyze(
            cv2.cvtColor(face, cv2.COLOR_GRAY2BGR), actions=["emotion"], detector_backend="skip"
        )
        return [found["emotion"][label] / 100 for label in labels]

    return labels, classify


serve(detector, classifier)
