# /// script
# dependencies = ["facex==1.1.0"]
#
# [tool.peer]
# package = "facex"
# licence = "MIT"
# detectors = { "Haar" = "Viola-Jones" }
# classifiers = ["TFLite"]
# ///
"""facex: one of the workers of its pool."""

from protocol import serve


def worker():
    from facex import PoolManager

    return PoolManager(pool_size=1).get_classifier()


def detector(variant):
    del variant
    found = worker()
    return lambda frame: [(*map(float, box), 1.0) for box in found.detect_faces(frame)[0]]


def classifier(variant):
    del variant
    found = worker()
    return found.category, lambda face: list(found.detect_emotion(face).values())


serve(detector, classifier)
