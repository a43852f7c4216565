"""The model card of an artifact, in Markdown.

Mitchell et al. 2019, "Model Cards for Model Reporting", arXiv:1810.03993.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence

from fer_edge.artifact import Artifact, Manifest, Score
from fer_edge.contract import Precision
from fer_edge.engines.speed import summary
from fer_edge.evaluation.law import EU_AI_ACT
from fer_edge.evaluation.proof import verdict
from fer_edge.metrics import SurePoint, standard_error

_CONFIG = (
    *("epochs", "batch", "lr", "schedule", "weight_decay", "label_smoothing", "class_balance"),
    *("teachers", "weights", "pretrained", "mixup", "int8_weights", "seed"),
)
"""What of a training's configuration a reader of the card asks for."""
_USE = """\
For research, and for programs whose users want their own expression read: interfaces, games,
art, tools for one's own recordings. The answer is a guess at the expression that a face shows, not
at what somebody feels: people smile without joy and are sad without showing it (Barrett et al.
2019, doi:10.1177/1529100619832930).

Not for decisions about people: hiring, grading, care, policing, credit, insurance."""
_LIMITS = (
    "Scored on single, mostly frontal faces. In a video, smooth over frames.",
    "How scores differ between groups of people (age, sex, skin tone, glasses, headscarves) is not "
    "recorded. `fer-edge evaluate --groups` measures it on data that tell; FER2013 does not.",
)
_FER2013 = (
    "FER2013's faces were found by search words, and people agree with about 65 % of its labels.",
    "The rights in FER2013's photos were never cleared; whether weights trained on them may be "
    "used commercially is unresolved.",
)


def model_card(artifact: Artifact) -> str:
    """Everything that a person asks before using a model, from its manifest.

    Parameters
    ----------
    artifact : Artifact

    Returns
    -------
    str
        Markdown. What the manifest does not tell is called not recorded.
    """
    manifest = artifact.manifest
    sections = [
        ("", [f"# {_text(manifest.model)}", "", *_what(artifact)]),
        ("Intended use", [_USE]),
        ("Law", [EU_AI_ACT]),
        ("Training", list(_training(manifest))),
        ("Accuracy", list(_accuracy(manifest))),
        ("Per class", list(_per_class(manifest))),
        ("Probabilities", list(_calibration(manifest))),
        ("Robustness", list(_robustness(manifest))),
        ("Precisions", list(_precisions(manifest))),
        ("Speed", list(_speed(manifest))),
        ("Limits", [f"- {line}" for line in (*_LIMITS, *_unmeasured(manifest))]),
        ("Files", list(_files(manifest))),
    ]
    blocks = []
    for heading, lines in sections:
        body = "\n".join(lines or ["Not recorded."])
        blocks.append(f"## {heading}\n\n{body}" if heading else body)
    return "\n\n".join(blocks) + "\n"


def _what(artifact: Artifact) -> Iterator[str]:
    manifest, contract = artifact.manifest, artifact.contract
    yield f"- Takes {contract.input_text}, raw; normalisation is inside the graph."
    yield f"- Gives {contract.output_text}: {_text(', '.join(contract.labels))}."
    if manifest.parameters is not None and manifest.multiply_adds is not None:
        yield (
            f"- {manifest.parameters / 1e6:.2f} M parameters, "
            f"{manifest.multiply_adds / 1e6:.1f} M multiply-adds a face."
        )
    made = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    yield f"- Made {_text(manifest.created)} with {_text(made)}."


def _training(manifest: Manifest) -> Iterator[str]:
    training = manifest.training
    if training is None:
        return
    config = training.get("config")
    best = training.get("best_epoch")
    if isinstance(config, dict):
        data = config.get("data")
        named = ", ".join(map(str, data)) if isinstance(data, list) else str(data)
        yield f"Data: {_text(named)}."
        values = {key: config[key] for key in _CONFIG if config.get(key) not in (None, [], False)}
        if values:
            yield ""
            yield from _table(("setting", "value"), [(f"`{k}`", str(v)) for k, v in values.items()])
    if isinstance(best, dict) and isinstance(best.get("val_accuracy"), float):
        yield ""
        ran = _text(str(training.get("epochs_run", "An unknown number of")))
        kept = f"epoch {_text(str(best.get('epoch')))} was best on val, on which epochs were chosen"
        if isinstance(config, dict) and config.get("keep") == "last":
            kept = "the last is kept"
        yield f"{ran} epochs; {kept}."
    for key in ("license", "source"):
        if isinstance(training.get(key), str):
            yield f"\n{key.capitalize()}: {_text(training[key])}."


def _accuracy(manifest: Manifest) -> Iterator[str]:
    if not manifest.scores:
        return
    yield "Single crop, no flips; ± is one binomial standard error."
    yield ""
    rows = [
        (
            precision,
            f"{score.split}, {score.n:,}",
            f"{100 * score.accuracy:.2f} ± {100 * score.standard_error:.2f}",
            f"{100 * score.macro_f1:.2f}",
        )
        for precision, score in manifest.scores.items()
    ]
    yield from _table(("precision", "split, faces", "accuracy %", "macro-F1 %"), rows)
    left = next(iter(manifest.scores.values())).left_out
    if left:
        told = ", ".join(f"{count:,} {_text(label)}" for label, count in left.items())
        yield f"\nLeft out, as the model has no label for them: {told}."


def _per_class(manifest: Manifest) -> Iterator[str]:
    chosen = _shown(manifest)
    if chosen is None:
        return
    precision, score = chosen
    yield f"{precision}, {score.split}. Recall is what share of the faces is found."
    yield ""
    rows = []
    for label, recall in score.recall.items():
        faces = (score.support or {}).get(label)
        error = "" if not faces else f" ± {100 * standard_error(recall, faces):.1f}"
        rows.append(
            (
                label,
                "-" if faces is None else f"{faces:,}",
                f"{100 * recall:.1f}{error}",
                _share(score.precision, label),
                _share(score.f1, label),
            )
        )
    yield from _table(("", "faces", "recall %", "precision %", "F1 %"), rows)


def _calibration(manifest: Manifest) -> Iterator[str]:
    for precision, score in manifest.scores.items():
        if score.ece is not None:
            yield (
                f"- {precision}: expected calibration error {100 * score.ece:.2f} % (15 bins; "
                "how far confidence is from accuracy, on average)."
            )
        for point in score.sure:
            yield f"- {precision}: {sure_text(point)}."


def _robustness(manifest: Manifest) -> Iterator[str]:
    chosen = _shown(manifest)
    if chosen is None or not chosen[1].faults:
        return
    precision, score = chosen
    yield (
        f"Accuracy of {precision} on {score.split} with every face spoilt; without a fault it is "
        f"{100 * score.accuracy:.1f} %."
    )
    yield ""
    rows = [
        (_text(one.fault), f"{one.level:g} {_text(one.unit)}", f"{100 * one.accuracy:.1f}")
        for one in score.faults
    ]
    yield from _table(("faces are", "level", "accuracy %"), rows)


def sure_text(point: SurePoint) -> str:
    """``right in 90 % of answers with a probability of at least 0.71, 62 % of all``"""
    return (
        f"right in {100 * point.precision:.1f} % of the answers whose probability is at least "
        f"{point.threshold:.3f}, which are {100 * point.coverage:.0f} % of all"
    )


def _precisions(manifest: Manifest) -> Iterator[str]:
    base = manifest.scores.get("fp32")
    for precision, score in manifest.scores.items():
        if base is not None and precision != "fp32":
            yield f"- {precision} {verdict(base, score)}."
    if manifest.calibration is not None:
        used = manifest.calibration
        yield f"- Calibrated by {_text(used.method)} on {used.samples} faces."


def _speed(manifest: Manifest) -> Iterator[str]:
    for speed in manifest.speeds:
        times = summary(speed, list(speed.ms))
        yield f"- {times}: {_text(speed.backend)} on {_text(speed.machine)}."


def _unmeasured(manifest: Manifest) -> Iterator[str]:
    if "fer2013" in str((manifest.training or {}).get("config")):
        yield from _FER2013
    if "test" not in {score.split for score in manifest.scores.values()}:
        yield "No score on a test split is recorded: val, on which epochs were chosen, flatters."


def _files(manifest: Manifest) -> Iterator[str]:
    rows = [
        (f"`{_text(name)}`", f"{record.bytes / 1e6:.2f}", f"`{record.sha256}`")
        for name, record in manifest.files.items()
    ]
    if rows:
        yield from _table(("file", "MB", "SHA-256"), rows)


def _shown(manifest: Manifest) -> tuple[Precision, Score] | None:
    """The score that is shown per class: of what runs in most places."""
    for precision in ("int8", "fp32"):
        if precision in manifest.scores:
            return precision, manifest.scores[precision]
    return next(iter(manifest.scores.items()), None)


def _share(shares: dict[str, float] | None, label: str) -> str:
    value = (shares or {}).get(label)
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(_text(cell) for cell in row)} |"


def _text(told: str) -> str:
    """What a manifest says, which may come from anyone, as one line without markup."""
    return re.sub(r"[\s|<>]+", " ", told).strip()
