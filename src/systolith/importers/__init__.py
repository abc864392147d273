"""Importers: model files to graphs."""

from systolith.importers.load import load_model, model_kind

__all__ = ["load_model", "model_kind"]
