# /// script
# dependencies = ["hsemotion-onnx==0.3.1"]
#
# [tool.peer]
# package = "hsemotion-onnx"
# licence = "Apache-2.0"
# classifiers = ["enet_b0_8_best_vgaf"]
# ///
"""HSEmotion by ONNX Runtime, trained on AffectNet."""

from protocol import serve


def classifier(variant):
    import urllib.request  # noqa: F401, which hsemotion_onnx uses and forgets

    import cv2
    from hsemotion_onnx.facial_emotions import HSEmotionRecognizer

    recognizer = HSEmotionRecognizer(model_name=variant)
    labels = [recognizer.idx_to_class[i] for i in range(8)]

    def classify(face):
        rgb = cv2.cvtColor(face, cv2.COLOR_GRAY2RGB)
        return recognizer.predict_emotions(rgb, logits=False)[1]

    return labels, classify


serve(classifier=classifier)
