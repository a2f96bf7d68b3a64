"""All checks, in the order of the report."""

from collections.abc import Iterator
from pathlib import Path

from receiver.doctor.database import examine_database
from receiver.doctor.files import examine_files
from receiver.doctor.finding import Finding
from receiver.doctor.machine import examine_machine
from receiver.doctor.parts import examine_parts
from receiver.doctor.settings import examine_settings


def examine(home: Path) -> Iterator[Finding]:
    """Look at everything in a deployment's home, beside its server or without one.

    It changes nothing and calls nobody. It loads the handler files, as a server does.
    """
    yield from examine_machine()
    findings, settings = examine_settings(home)
    yield from findings
    if settings is None:
        return
    parts = examine_parts(settings)
    yield from parts.findings
    if settings.sqlite_path is None:
        return
    yield from examine_files(settings.sqlite_path)
    if settings.sqlite_path.exists():
        yield from examine_database(settings, parts.names)
