"""Signature schemes: proof that a webhook comes from who it says, and how a sender makes it.

Pure functions of bytes, secrets and a moment. docs/signatures.md describes every scheme.
"""

from receiver.signatures.build import MIN_SECRET_BYTES, build_scheme
from receiver.signatures.spec import PRESETS, Preset, SchemeSpec
from receiver.signatures.verdict import EXPLANATIONS, REASONS, RawHeaders, Scheme, Verified

__all__ = [
    "EXPLANATIONS",
    "MIN_SECRET_BYTES",
    "PRESETS",
    "REASONS",
    "Preset",
    "RawHeaders",
    "Scheme",
    "SchemeSpec",
    "Verified",
    "build_scheme",
]
