"""`python -m receiver.cli` is `clarihook`."""

from receiver.cli import script

script()
