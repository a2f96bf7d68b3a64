"""The demo: a sandbox that does its work, a receiver, and a webhook that gets the messages.

All of it runs in one process, on free ports of the loopback, in a folder of its own.
"""

from receiver.demo.run import run

__all__ = ["run"]
