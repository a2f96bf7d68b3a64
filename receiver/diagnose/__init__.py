"""Why a signature does not verify: each cause is found by trying it."""

from receiver.diagnose.capture import Captured, from_curl, from_har
from receiver.diagnose.examine import Examination, examine

__all__ = ["Captured", "Examination", "examine", "from_curl", "from_har"]
