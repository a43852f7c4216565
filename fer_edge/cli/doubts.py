"""What is said where figures look wrong: labels in another order, layers at fault."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer_edge.artifact import Artifact, Score
    from fer_edge.data import FaceDataset

_NAMED = 3
_FACES = 128


def wrong_order(score: "Score | None") -> Iterator[str]:
    """A line where the labels fit the faces in another order."""
    if score is None or score.fitting_labels is None:
        return
    yield (
        f"Accuracy is {100 * score.accuracy:.1f} %, and the labels fit the faces far better in "
        "another order. If these faces are right, import the network again with: "
        f"--labels {','.join(score.fitting_labels)}"
    )


def layers_at_fault(artifact: "Artifact", faces: "FaceDataset") -> Iterator[str]:
    """Lines that name the layers that INT8 changes most, where it changes many labels."""
    # The command line shows its help without numpy.
    from fer_edge.metrics import AGREEMENT

    score = artifact.manifest.scores.get("int8")
    agreement = score.agreement_with_fp32 if score else None
    if agreement is None or agreement >= AGREEMENT:
        return
    from fer_edge.export.inspection.layers import measured_layers

    few = faces.subset(range(0, len(faces), max(len(faces) // _FACES, 1)))
    reports = measured_layers(artifact, "int8", few)
    worst = sorted(reports, key=lambda report: -(report.divergence or 0.0))[:_NAMED]
    yield (
        f"int8 changes {100 * (1 - agreement):.1f} % of the labels. In INT8 alone, these layers "
        "move the probabilities most:"
    )
    for report in worst:
        if report.divergence:
            yield f"  {report.name} ({report.operator}): by {report.divergence:.2g} nats"
    yield "--max-drop 0.5 leaves out of INT8 what costs more than that many points."
