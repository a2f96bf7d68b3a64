"""How much chaos: little enough for CI, or as much as the environment asks for (`make chaos`)."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many of each, over all tests of the folder."""

    power_cuts: int = 200
    io_faults: int = 120
    kills: int = 40
    soak_events: int = 4000

    @staticmethod
    def from_environment() -> "Counts":
        names = ("power_cuts", "io_faults", "kills", "soak_events")
        given = {name: os.environ.get(f"CHAOS_{name.upper()}") for name in names}
        return Counts(**{name: int(text) for name, text in given.items() if text})


COUNTS = Counts.from_environment()
