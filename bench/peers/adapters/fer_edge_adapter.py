# /// script
# dependencies = [
#   "{root}[camera]", "{root}/export/compact-camera", "{root}/export/resnet50",
#   "{root}/export/vgg19",
# ]
#
# [tool.peer]
# package = "fer-edge"
# licence = "Apache-2.0"
# detectors = { "FP32" = "RetinaFace", "INT8" = "RetinaFace" }
# classifiers = [
#   "compact INT8", "compact FP32", "compact-camera INT8", "compact-camera FP32",
#   "nano INT8", "nano FP32", "resnet50 INT8", "vgg19 INT8",
# ]
# ///
"""FER-Edge itself, by the same way as the others: its detector and its models."""

from protocol import serve


def detector(variant):
    from fer_edge.runtime.detection import RetinaFace

    detect = RetinaFace(precision=variant.lower(), backend="onnxruntime-cpu", threads=1)
    return lambda frame: [(*one.box, one.score) for one in detect(frame)]


def classifier(variant):
    from fer_edge import Recognizer
    from fer_edge.emotions import EMOTIONS

    name, precision = variant.split()
    recognizer = Recognizer(name, precision=precision.lower(), backend="onnxruntime-cpu", threads=1)
    return EMOTIONS, lambda face: recognizer(face[None]).probabilities[0]


serve(detector, classifier)
