# /// script
# dependencies = ["emotiefflib==1.1.1"]
#
# [tool.peer]
# package = "emotiefflib"
# licence = "Apache-2.0"
# classifiers = ["enet_b0_8_best_vgaf, ONNX"]
# ///
"""EmotiEffLib (HSEmotion's successor), trained on AffectNet."""

from protocol import serve


def classifier(variant):
    import cv2
    from emotiefflib.facial_analysis import EmotiEffLibRecognizer

    recognizer = EmotiEffLibRecognizer(engine="onnx", model_name=variant.split(",")[0])
    labels = [recognizer.idx_to_emotion_class[i] for i in range(8)]

    def classify(face):
        rgb = cv2.cvtColor(face, cv2.COLOR_GRAY2RGB)
        return recognizer.predict_emotions(rgb, logits=False)[1][0]

    return labels, classify


serve(classifier=classifier)
