"""Messages to targets: Slack, mail and 130 other services through Apprise, and files.

APPRISE.md's findings decide the shape: one URL is one recipient is one target; Apprise makes one
attempt in the target's own thread; retry, pacing, deadline, classification and masking are ours.
"""

from receiver.notify.notifier import ChannelSpec, Notifier, channel_spec
from receiver.notify.redact import Redactor, redacting_processor
from receiver.notify.target import SendResult, Target

__all__ = [
    "ChannelSpec",
    "Notifier",
    "Redactor",
    "SendResult",
    "Target",
    "channel_spec",
    "redacting_processor",
]
