"""A data report as one HTML page that needs nothing else."""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image

from fer_edge.contract import EMOTIONS, FACE_SIZE
from fer_edge.data.dataset import FaceDataset
from fer_edge.data.labels import Split
from fer_edge.data.report import (
    REASONS,
    Copy,
    DataReport,
    DuplicateSummary,
    FlaggedFace,
    SplitSummary,
)

Place = tuple[Split, int]

_COLUMNS = 24
_SHOWN = 72  # pixels of a face's side on the page
_COPIES = 4  # of a group

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --bar: #2f7fd1; --warn: #d9534f; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
p { max-width: 46rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
.pair > figure { flex: 1 1 18rem; margin: 0; }
.bar { display: grid; grid-template-columns: 5rem 1fr 8.5rem; gap: .5rem; align-items: center; }
.bar i { background: var(--bar); height: .9rem; border-radius: 2px; min-width: 1px; }
.bar span:last-child { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { width: 100%; height: auto; } svg rect { fill: var(--bar); }
svg text { fill: currentColor; font-size: 9px; }
.grid { display: flex; flex-wrap: wrap; gap: .9rem; }
.card { font-size: .78rem; line-height: 1.25; }
.card > div { display: flex; gap: 2px; }
.single { width: 6.2rem; }
.warn { color: var(--warn); }
.copy { width: SIDEpx; text-align: center; }
.face { display: block; width: SIDEpx; height: SIDEpx; background-size: WIDTHpx auto;
  background-image: url(data:image/png;base64,SHEET); }
"""


def render_page(
    report: DataReport,
    splits: Mapping[Split, FaceDataset],
    *,
    groups: int = 96,
    faces: int = 144,
) -> str:
    """Draw a report: classes, brightness, and faces to look at.

    Parameters
    ----------
    report : DataReport
    splits : mapping of split to FaceDataset
        Those that the report is on.
    groups : int
        Most groups of duplicates shown: first those that cross splits or disagree on the label.
    faces : int
        Most mislabelled faces shown per split, least believed labels first.

    Returns
    -------
    str
        HTML with its style and images inside, without scripts; about 1 MB for FER2013.
    """
    copies = sorted(
        report.duplicates,
        key=lambda group: (
            -(group.label_conflict + group.cross_split),
            -group.label_conflict,
            group.correlation,
        ),
    )[:groups]
    ranked = report.mislabelled()
    wrong = {
        split: [face for face in ranked if face.split == split][:faces] for split in report.splits
    }
    places = [(copy.split, copy.index) for group in copies for copy in _telling(group)]
    places += [(face.split, face.index) for shown in wrong.values() for face in shown]
    sheet = _Sheet(places, splits)

    style = (
        _STYLE.replace("SIDE", str(_SHOWN))
        .replace("WIDTH", str(_COLUMNS * _SHOWN))
        .replace("SHEET", sheet.png)
    )
    title = escape(f"Data report: {report.source}")
    body = "\n".join(
        [
            f"<h1>{title}</h1>",
            _overview(report),
            "<h2>Classes</h2>",
            _side_by_side(report.splits, _classes),
            "<h2>Brightness</h2>",
            "<p>Faces by their mean gray level, 0 to 255.</p>",
            _side_by_side(report.splits, _histogram),
            _duplicates(report, copies, sheet),
            *(_mislabelled(report, split, shown, sheet) for split, shown in wrong.items()),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


class _Sheet:
    """Faces in one PNG, which every ``.face`` shows a tile of."""

    def __init__(self, places: Sequence[Place], splits: Mapping[Split, FaceDataset]) -> None:
        self._tiles = {place: tile for tile, place in enumerate(dict.fromkeys(places))}
        rows = max(math.ceil(len(self._tiles) / _COLUMNS), 1)
        tiles = np.zeros((rows * _COLUMNS, FACE_SIZE, FACE_SIZE), np.uint8)
        for (split, index), tile in self._tiles.items():
            tiles[tile] = splits[split].faces[index]
        grid = tiles.reshape(rows, _COLUMNS, FACE_SIZE, FACE_SIZE).swapaxes(1, 2)
        stream = io.BytesIO()
        Image.fromarray(grid.reshape(rows * FACE_SIZE, _COLUMNS * FACE_SIZE)).save(
            stream, "PNG", optimize=True
        )
        self.png = base64.b64encode(stream.getvalue()).decode()

    def face(self, split: Split, index: int, label: str) -> str:
        row, column = divmod(self._tiles[split, index], _COLUMNS)
        said = escape(f"{label}, {split} {index}", quote=True)
        return (
            f'<span class="face" role="img" aria-label="{said}" title="{said}" '
            f'style="background-position:-{column * _SHOWN}px -{row * _SHOWN}px"></span>'
        )


def _overview(report: DataReport) -> str:
    with_model = report.model is not None
    heads = ["split", "faces", *(["accuracy"] if with_model else [])]
    heads += ["brightness", "contrast", *REASONS]
    rows = []
    for split, summary in report.splits.items():
        cells = [split, f"{summary.faces:,}"]
        if with_model:
            cells.append("-" if summary.accuracy is None else f"{summary.accuracy:.1%}")
        cells += [
            f"{spread.mean:.0f} ± {spread.std:.0f}"
            for spread in (summary.brightness, summary.contrast)
        ]
        cells += [
            "-" if reason == "mislabelled" and summary.accuracy is None else f"{n:,}"
            for reason, n in summary.flagged.items()
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in heads)
    model = f"The model is {escape(report.model)}. " if report.model is not None else ""
    return (
        f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'
        f"<p>{model}Brightness is the mean of a face's gray levels, contrast their standard "
        "deviation: mean ± standard deviation over faces.</p>"
    )


def _side_by_side(splits: Mapping[Split, SplitSummary], draw: Callable[[SplitSummary], str]) -> str:
    figures = (
        f"<figure><figcaption><b>{split}</b></figcaption>{draw(summary)}</figure>"
        for split, summary in splits.items()
    )
    return f'<div class="pair">{"".join(figures)}</div>'


def _classes(summary: SplitSummary) -> str:
    most = max(found.faces for found in summary.classes.values())
    return "".join(
        f'<div class="bar"><span>{emotion}</span>'
        f'<i style="width:{100 * summary.classes[emotion].faces / most:.1f}%"></i>'
        f"<span>{(n := summary.classes[emotion].faces):,} · {n / summary.faces:.1%}</span></div>"
        for emotion in EMOTIONS
    )


def _histogram(summary: SplitSummary) -> str:
    bins = summary.brightness_histogram
    width, height = 320 / len(bins), 90
    bars = "".join(
        f'<rect x="{i * width:.1f}" y="{height * (1 - n / max(bins)):.1f}" '
        f'width="{width - 1:.1f}" height="{height * n / max(bins):.1f}"/>'
        for i, n in enumerate(bins)
    )
    marks = "".join(
        f'<text x="{320 * gray / 256:.0f}" y="102" text-anchor="{anchor}">{gray}</text>'
        for gray, anchor in ((0, "start"), (64, "middle"), (128, "middle"), (192, "middle"))
    )
    return (
        '<svg viewBox="0 0 320 106" role="img" aria-label="histogram of brightness">'
        f'{bars}{marks}<text x="320" y="102" text-anchor="end">255</text></svg>'
    )


def _duplicates(report: DataReport, shown: Sequence[DuplicateSummary], sheet: _Sheet) -> str:
    cross = sum(group.cross_split for group in report.duplicates)
    conflict = sum(group.label_conflict for group in report.duplicates)
    text = (
        f"<h2>Duplicates</h2><p>{report.exact_copies:,} faces are exact copies of an earlier one, "
        f"{report.near_copies:,} are near or mirrored copies, in {len(report.duplicates):,} "
        f"groups: {cross:,} cross splits, in {conflict:,} the labels disagree. "
    )
    if not shown:
        return text + "</p>"
    cards = "".join(_group(group, sheet) for group in shown)
    return (
        f"{text}Shown are {len(shown):,}, those that disagree on the label and cross splits "
        f'first.</p><div class="grid">{cards}</div>'
    )


def _telling(group: DuplicateSummary) -> list[Copy]:
    """The few copies to show: every label and split before more of the same."""
    first: dict[tuple[str, str], Copy] = {}
    for copy in group.faces:
        first.setdefault((copy.label, copy.split), copy)
    chosen = list(first.values())
    return (chosen + [copy for copy in group.faces if copy not in chosen])[:_COPIES]


def _group(group: DuplicateSummary, sheet: _Sheet) -> str:
    kind = "warn" if group.label_conflict else ""
    faces = "".join(
        f'<div class="copy">{sheet.face(copy.split, copy.index, copy.label)}'
        f'<span class="{kind}">{copy.label}</span><br>{copy.split}</div>'
        for copy in _telling(group)
    )
    more = len(group.faces) - _COPIES
    said = group.kind + (f" {group.correlation:.2f}" if group.kind != "exact" else "")
    said += f", {more} more" if more > 0 else ""
    return f'<div class="card"><div>{faces}</div>{said}</div>'


def _mislabelled(
    report: DataReport, split: Split, shown: Sequence[FlaggedFace], sheet: _Sheet
) -> str:
    if report.splits[split].accuracy is None:
        return ""
    text = (
        f"<h2>Likely mislabelled: {split}</h2>"
        f"<p>{report.splits[split].flagged['mislabelled']:,} faces for which the model is surer "
        "of another label (confident learning). Some are errors of the model; on the split that "
        "it was trained on it leans towards the labels, and wrong ones escape.</p>"
    )
    cards = "".join(
        f'<div class="card single">{sheet.face(face.split, face.index, face.label)}'
        f'<span class="warn">{face.label}</span> → <b>{face.suggested}</b><br>'
        f"{_percent(face.self_confidence)} → {_percent(face.confidence)}</div>"
        for face in shown
    )
    return f'{text}<div class="grid">{cards}</div>'


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
