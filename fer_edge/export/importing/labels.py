"""What the outputs of a network are called: as said, or as its file says."""

import ast
import json
from collections.abc import Sequence

import onnx

from fer_edge.errors import ExportError


def find_labels(
    said: Sequence[str] | None, classes: int, model: onnx.ModelProto, where: str
) -> tuple[str, ...]:
    """A label for each output, those ``said`` before those that the file has.

    Raises
    ------
    ExportError
        There are none, or as many as there are no outputs.
    """
    found = tuple(said) if said is not None else written_labels(model)
    if found is None:
        raise ExportError(
            f"{where} has {classes} outputs and does not say what they are.",
            hint=f"Name them in its order: --labels {example(classes)}",
        )
    if len(found) != classes:
        raise ExportError(
            f"{where} has {classes} outputs, and {len(found)} labels are named: "
            f"{', '.join(found)}.",
            hint=f"Name {classes} in its order with --labels.",
        )
    return found


def example(classes: int) -> str:
    """What may be written after --labels."""
    known = {
        7: "angry,disgust,fear,happy,sad,surprise,neutral (FER2013's order, where it is that)",
        8: "neutral,happy,surprise,sad,angry,disgust,fear,contempt (FERPlus's, where it is that)",
    }
    return known.get(classes, "happy,sad,…")


def written_labels(model: onnx.ModelProto) -> tuple[str, ...] | None:
    """Labels in the metadata, as exporters write them: JSON, a Python dict, or with commas."""
    facts = {p.key: p.value for p in model.metadata_props}
    for key in ("fer_edge.labels", "labels", "names", "classes", "class_names", "id2label"):
        text = facts.get(key, "").strip()
        if not text:
            continue
        if text[0] not in "[{(":
            return tuple(part.strip() for part in text.split(","))
        for parse in (json.loads, ast.literal_eval):
            try:
                value = parse(text)
            except (ValueError, SyntaxError):
                continue
            if isinstance(value, dict):
                value = [value[k] for k in sorted(value, key=lambda k: int(k))]
            return tuple(str(label) for label in value)
    return None
