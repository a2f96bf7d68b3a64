"""All checks, in the order of the report."""

from collections.abc import Iterator
from pathlib import Path

from receiver.doctor.database import examine_database
from receiver.doctor.files import examine_files
from receiver.doctor.finding import Finding, fault
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
    database = settings.sqlite_path
    if database is None:
        return
    try:
        yield from examine_files(database, min_free_bytes=settings.store.min_free_bytes)
        is_there = database.exists()
    except PermissionError as error:
        text = f"{error.filename}: this user may not look there"
        yield fault("folder", text, "run this as the user that serves")
        return
    if is_there:
        yield from examine_database(settings, parts.names)
