"""Why a signature does not verify: each cause is found by trying it."""

from receiver.diagnose.examine import Examination, examine

__all__ = ["Examination", "examine"]
