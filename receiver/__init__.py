"""clarihook's engine. A handler file needs only what this module exports:

from receiver import Context, on
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from receiver.errors import Reject, Retry, Skip
    from receiver.model import Event
    from receiver.registry import Context, on

__all__ = ["Context", "Event", "Reject", "Retry", "Skip", "__version__", "on"]

__version__ = "0.1.0"

_HOMES = {
    "Context": "receiver.registry",
    "Event": "receiver.model",
    "Reject": "receiver.errors",
    "Retry": "receiver.errors",
    "Skip": "receiver.errors",
    "on": "receiver.registry",
}


def __getattr__(name: str) -> Any:
    """What is exported, imported when it is first asked for.

    So `clarihook --help`, and the pytest plugin in a project that does not use it, need not wait
    for pydantic.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
