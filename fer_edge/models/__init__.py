"""Models by name. Listing them needs no torch; building them does."""

from fer_edge.models.building import build_model
from fer_edge.models.registry import MODELS, ModelSpec, model_contract, model_spec

__all__ = ["MODELS", "ModelSpec", "build_model", "model_contract", "model_spec"]
