"""Where the database lies: the folder, its file system, who may read it, the room that is left."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from receiver.doctor.finding import Finding, fault, ok, warning

LOW_BYTES = 2**30
BIG_WAL_BYTES = 2 * 64 * 2**20
"""Twice what SQLite cuts the log down to once all of it is moved in (`journal_size_limit`)."""
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p"})
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


def examine_files(database: Path, *, min_free_bytes: int) -> Iterator[Finding]:
    """The folder and the files in it, whether there is a database yet or not."""
    folder = _existing(database.parent)
    yield _examine_folder(database, folder)
    yield _examine_room(folder, min_free_bytes)
    if database.exists():
        yield _examine_permissions(database)
        yield _examine_wal(database)
    else:
        remedy = "start `clarihook serve`, or check --home and store.url if there should be"
        yield warning("database", f"{database}: there is none yet", remedy)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def _examine_folder(database: Path, folder: Path) -> Finding:
    kind = file_system(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        remedy = f"give it to the user that serves: chown, or chmod u+rwx {folder}"
        return fault("folder", f"{folder} can't be written to by this user", remedy)
    if kind in _REMOTE:
        text = f"{folder} is on {kind}, where SQLite's log does not work"
        return fault("folder", text, "put the database on a local disk (store.url)")
    if kind in _IN_MEMORY:
        text = f"{folder} is in memory ({kind}): the next boot loses all of it"
        return warning("folder", text, "put the database on a disk (store.url)")
    return ok("folder", f"{database.parent} on {kind or 'a local file system'}")


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The type of file system that the folder is on, as the kernel calls it; None: not known."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    found: tuple[int, str] | None = None
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        point = point.replace("\\040", " ")  # so a space is written there
        if folder.resolve().is_relative_to(point) and (found is None or len(point) >= found[0]):
            found = (len(point), kind)
    return None if found is None else found[1]


def _examine_room(folder: Path, min_free_bytes: int) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / 2**20:,.0f} MiB free"
    remedy = "free some space, or keep less: store.keep, `clarihook db prune`"
    if free < min_free_bytes:
        text += f", and store.min_free_bytes is {min_free_bytes}: webhooks are answered 503"
        return fault("disk", text, remedy)
    if free < LOW_BYTES:
        return warning("disk", text, remedy)
    return ok("disk", text)


def _examine_permissions(database: Path) -> Finding:
    beside = [database.with_name(database.name + suffix) for suffix in ("", "-wal", "-shm")]
    for path in beside:
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            text = f"{path} can't be read and written by this user"
            return fault("permissions", text, "run as the user that serves, or chown the file")
    for path in beside:
        if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            text = f"{path} is open to others: it has every webhook in it"
            return warning("permissions", text, f"chmod 600 {path}")
    return ok("permissions", "only this user reads the database")


def _examine_wal(database: Path) -> Finding:
    wal = database.with_name(f"{database.name}-wal")
    size = wal.stat().st_size if wal.exists() else 0
    text = f"{size / 2**20:.1f} MiB wait to be moved into the database at most"
    if size > BIG_WAL_BYTES:
        remedy = "end what has kept a read transaction open: fuser -v on the -wal file names it"
        return warning("wal", text, remedy)
    return ok("wal", text)
