"""A report on layers as a picture."""

from collections.abc import Sequence
from pathlib import Path

from fer_edge.evaluation.plots import PRECISION_COLORS, as_text, check_plot
from fer_edge.export.inspection.layers import LayerReport
from fer_edge.files import atomic_path

_OTHER = "#999999"


def plot_layers(layers: Sequence[LayerReport], title: str, path: Path) -> None:
    """Draw the work of every weighted layer and what INT8 costs in it, coloured by precision.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    StorageError
        ``path`` cannot be written.
    """
    check_plot(path, "--plot ")
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rows = [layer for layer in layers if layer.multiply_adds]
    measured = any(layer.divergence is not None for layer in rows)
    figure = Figure(figsize=(11 if measured else 7, 1.6 + 0.2 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 2 if measured else 1, sharey=True, squeeze=False)[0]
    places = range(len(rows))
    colors = [PRECISION_COLORS.get(layer.precision, _OTHER) for layer in rows]
    panels[0].barh(places, [layer.multiply_adds / 1e6 for layer in rows], color=colors)
    panels[0].set(xlabel="multiply-adds per face, millions", ylim=(len(rows) - 0.4, -0.6))
    panels[0].set_yticks(places, [as_text(layer.name) for layer in rows], fontsize=7)
    if measured:
        panels[1].barh(places, [1e3 * (layer.divergence or 0) for layer in rows], color=colors)
        panels[1].set(xlabel="divergence from fp32 with this layer alone in INT8, 1e-3 nats")
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="x", alpha=0.3)
        panel.set_axisbelow(True)
    names = dict.fromkeys(layer.precision for layer in rows)
    figure.legend(
        handles=[Patch(color=PRECISION_COLORS.get(name, _OTHER), label=name) for name in names],
        loc="outside lower center",
        ncols=len(names),
        frameon=False,
    )
    figure.suptitle(as_text(title), x=0.01, ha="left", fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
