"""The summary of a recording as a picture."""

from pathlib import Path

import numpy as np

from fer_edge.evaluation.plots import as_text, check_plot
from fer_edge.files import atomic_path
from fer_edge.runtime.palette import color_of
from fer_edge.runtime.summary import SECONDS_PER_BIN, Summary

_MOST_TRACKS = 8
_MOST_BINS = 400


def plot_summary(summary: Summary, title: str, path: Path) -> None:
    """Write a PNG: each emotion's share of the time, and per track its probability over time.

    Of the tracks, the eight that were seen longest are drawn.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    StorageError
        ``path`` cannot be written.
    UsageError
        ``path`` does not end in ``.png``.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    frames = {
        track: sum(one.frames for one in bins.values()) for track, bins in summary.tracks.items()
    }
    tracks = sorted(sorted(frames, key=lambda track: -frames[track])[:_MOST_TRACKS])
    figure = Figure(figsize=(9, 2.6 + 1.1 * len(tracks)), dpi=120, layout="constrained")
    top, *rows = figure.subplots(
        1 + len(tracks), 1, squeeze=False, height_ratios=[0.6] + [1.0] * len(tracks)
    )[:, 0]
    left = 0.0
    for name, share in summary.shares.items():
        top.barh(0, share, left=left, color=color_of(name), label=as_text(name))
        if share >= 0.06:
            top.text(left + share / 2, 0, f"{100 * share:.0f} %", ha="center", va="center")
        left += share
    top.set(xlim=(0, 1), yticks=[], xticks=[])
    top.set_ylabel("all faces", rotation=0, ha="right", va="center")
    top.set_title(as_text(title), loc="left", fontsize=10)
    top.spines[:].set_visible(False)
    seconds = (int((summary.seconds or 0.0) / SECONDS_PER_BIN) + 1) * SECONDS_PER_BIN
    bins = min(round(seconds / SECONDS_PER_BIN), _MOST_BINS)
    edges = np.linspace(0, seconds, bins + 1)
    for axes, track in zip(rows, tracks, strict=True):
        shares = summary.over_time(track, bins)
        low = np.zeros(bins)
        for index, name in enumerate(summary.classes):
            high = low + shares[:, index]
            axes.stairs(high, edges, baseline=low, fill=True, color=color_of(name))
            low = high
        axes.set(xlim=(0, seconds), ylim=(0, 1), yticks=[])
        axes.set_ylabel(f"track {track}", rotation=0, ha="right", va="center")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(labelbottom=axes is rows[-1])
    if rows:
        rows[-1].set_xlabel("seconds")
    handles, labels = top.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=len(summary.classes),
        frameon=False,
        fontsize=9,
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
