"""Proof by comparison: every tensor of a network in hardware beside the software runtime's."""

from systolith.verify.flow import verify_model
from systolith.verify.results import LayerReport, Mismatch, VerifyReport

__all__ = ["LayerReport", "Mismatch", "VerifyReport", "verify_model"]
