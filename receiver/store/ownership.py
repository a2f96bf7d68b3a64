"""Holding a database for processes that this one watches over."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from receiver.errors import StoreError, StoreLocked
from receiver.store.files import OWNER_PATIENCE_SECONDS, OwnerLock, create_private
from receiver.store.opening import connect_writer, explain_open
from receiver.store.sharing import can_share, why_alone


@contextmanager
def hold_database(path: Path) -> Iterator[None]:
    """Own a database, with its schema brought up to date, and leave its use to workers.

    Raises StoreLocked if another process owns it, or if only one process may use it here.
    """
    if not can_share(runs_deliveries=True):
        raise StoreLocked(f"{path}: only one process can run deliveries here, {why_alone()}")
    lock = OwnerLock(path)
    try:
        create_private(path)
        if not lock.take(patience_seconds=OWNER_PATIENCE_SECONDS):
            raise StoreLocked(already_served(path, lock))
    except OSError as error:
        raise StoreError(explain_open(path, error)) from error
    try:
        connect_writer(path).close()
        yield
    finally:
        lock.release()


def already_served(path: Path, lock: OwnerLock) -> str:
    """Why a second owner is refused, and what to do."""
    return (
        f"{path}: process {lock.owner_pid()} is serving this database already. Stop it first, or "
        "give this one another store.url."
    )
