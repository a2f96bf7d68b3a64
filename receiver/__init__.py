"""clarihook's engine. A handler file needs only what this module exports:

from receiver import Context, on
"""

from receiver.errors import Reject, Retry, Skip
from receiver.model import Event
from receiver.registry import Context, on

__all__ = ["Context", "Event", "Reject", "Retry", "Skip", "__version__", "on"]

__version__ = "0.1.0"
