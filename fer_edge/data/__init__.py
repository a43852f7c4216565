"""Faces with labels: readers for what people have, a cache, and faces made up on the spot."""

from fer_edge.data.dataset import FaceDataset
from fer_edge.data.hold_out import hold_out
from fer_edge.data.labels import SPLITS, Split
from fer_edge.data.listing import LegendReport
from fer_edge.data.loading import describe_source, load_dataset
from fer_edge.data.mixture import mix
from fer_edge.data.synthetic import synthetic_dataset

__all__ = [
    "SPLITS",
    "FaceDataset",
    "LegendReport",
    "Split",
    "describe_source",
    "hold_out",
    "load_dataset",
    "mix",
    "synthetic_dataset",
]
