"""`clarihook db`: look after the database, beside a running server or without one."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from receiver.cli.asking import YesOption, confirm
from receiver.cli.deployment import opened, store_of
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_table
from receiver.cli.progress import progress_bar
from receiver.cli.times import iso
from receiver.durations import format_duration, parse_duration
from receiver.errors import UsageError
from receiver.model import from_ms
from receiver.settings import Settings, StoreSettings, load_settings
from receiver.store import inspection
from receiver.store.backup import backup as copy_database
from receiver.store.driver import SQLITE_VERSION
from receiver.store.pruning import KEY_SLICES
from receiver.store.schema import migration_steps

app = typer.Typer(help="Look after the database: check, back up, prune.")

KeepOption = Annotated[
    str | None, typer.Option(metavar="SPAN", help="Keep events that long, not store.keep: 30d.")
]
KeepDedupeOption = Annotated[
    str | None, typer.Option(metavar="SPAN", help="Keep dedupe keys that long: 30d.")
]


@app.command()
def migrate(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is to be done.")
    ] = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Bring the database up to date with this version; make it if there is none.

    `clarihook serve` does it at its start too. This is for a deployment that wants to know
    before: it refuses while a server runs. Back up first: `clarihook db backup`.

    Example: clarihook db migrate --dry-run
    """
    settings = load_settings(home, needs_secrets=False)
    store = store_of(settings, "owner", must_exist=False)
    applied, pending = migration_steps(store.path)
    if pending and not dry_run:
        asyncio.run(_open_once(settings))
    if as_json:
        done = [] if dry_run else pending
        left = pending if dry_run else []
        print_json({"schema": [*applied, *done][-1:], "applied": done, "pending": left})
        return
    for name in pending:
        print_line(f"{'to be done' if dry_run else 'done'}  {name}")
    if not pending:
        print_line(f"up to date: {applied[-1]}")


@app.command()
def check(
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Don't compare the indexes with their tables.")
    ] = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Check that the file is whole and that what it says makes sense. It changes nothing.

    SQLite's integrity check, the references between tables, and clarihook's own rules: every
    success has its attempt, every key exactly one delivery whose turn it is, … A server may run.
    The exit status is 1 if something is wrong.

    Example: clarihook db check --json
    """
    settings = load_settings(home, needs_secrets=False)
    found = asyncio.run(_check(settings, is_quick=quick))
    if as_json:
        print_json({"sound": not found, "problems": found})
    elif found:
        for text in found:
            print_line(text, "red")
        print_line("keep a copy of all four files, then restore a backup (docs/store.md)")
    else:
        print_line("sound", "green")
    if found:
        raise typer.Exit(1)


@app.command()
def backup(
    target: Annotated[
        Path, typer.Argument(metavar="FILE", help="The copy; for a folder, a file named by time.")
    ],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Copy the database while the server goes on: complete, as of one moment, and checked.

    The file gets its name when it is whole. To restore it, stop the server, move its database
    files away, put this in their place, start.

    Example: clarihook db backup /var/backups/
    """
    settings = load_settings(home, needs_secrets=False)
    copy = _copy_path(settings, target, force=force)
    begun = time.monotonic()
    size = asyncio.run(_backup(settings, copy, quiet=as_json))
    seconds = time.monotonic() - begun
    if as_json:
        print_json({"file": str(copy), "bytes": size, "seconds": round(seconds, 3)})
    else:
        print_line(f"{copy}: {_size(size)} in {seconds:.1f} s, checked", "green")


@app.command()
def prune(
    *,
    keep: KeepOption = None,
    keep_dedupe: KeepDedupeOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
    yes: YesOption = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Remove events and dedupe keys that are too old, as the server does once a minute.

    Events with a delivery that is dead or has not ended stay until somebody retries or discards
    it. The file does not shrink; its room is used again.

    Example: clarihook db prune --keep 30d --dry-run
    """
    settings = load_settings(home, needs_secrets=False)
    store_settings = _kept(settings.store, keep, keep_dedupe)
    now_ms = int(time.time() * 1000)
    found = asyncio.run(_prunable(settings, store_settings, now_ms))
    events = found.events
    if not dry_run and (found.events or found.dedupe_keys):
        # What the settings say the server does by itself, unasked.
        if store_settings != settings.store and not yes:
            confirm(f"remove {_words(found.events, found.dedupe_keys)} for good")
        events = asyncio.run(_prune(settings, store_settings, now_ms))
    kept = found.events + found.kept_events - events
    if as_json:
        removed = {"events": events, "dedupe_keys": found.dedupe_keys}
        print_json({"dry_run": dry_run, **removed, "kept_events": kept})
        return
    verb = "would remove" if dry_run else "removed"
    print_line(f"{verb} {_words(events, found.dedupe_keys)}")
    if kept:
        print_line(
            f"{_count(kept, 'old event')} kept: a delivery of each is dead or has not ended "
            "(`clarihook deliveries list --state dead`)"
        )


@app.command()
def stats(home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """Show what is in the database, how large it is, and from when to when.

    Example: clarihook db stats --json
    """
    settings = load_settings(home, needs_secrets=False)
    document = asyncio.run(_stats(settings))
    if as_json:
        print_json(document)
    else:
        _print_stats(document)


async def _open_once(settings: Settings) -> None:
    store = store_of(settings, "owner", must_exist=False)
    await store.open()
    await store.close()


async def _check(settings: Settings, *, is_quick: bool) -> list[str]:
    async with opened(settings, "reader") as store:
        return await store.read(lambda db: inspection.check(db, is_quick=is_quick))


def _copy_path(settings: Settings, target: Path, *, force: bool) -> Path:
    """Where the copy goes. Raises UsageError for a place that is taken or can't be."""
    target = target.expanduser().absolute()
    if target.is_dir():
        target = target / f"clarihook-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.db"
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: there is no such folder")
    source = store_of(settings, "reader").path
    beside = [source.with_name(source.name + suffix) for suffix in ("", "-wal", "-shm", ".lock")]
    if target.resolve() in [path.resolve() for path in beside]:
        raise UsageError(f"{target} is the database itself; name another file")
    if target.exists() and not force:
        raise UsageError(f"{target} exists; name another file, or add --force to replace it")
    return target


async def _backup(settings: Settings, copy: Path, *, quiet: bool) -> int:
    async with opened(settings, "reader") as store:
        with progress_bar("copying", quiet=quiet) as on_progress:
            return await store.read(lambda db: copy_database(db, copy, on_progress=on_progress))


def _kept(settings: StoreSettings, keep: str | None, keep_dedupe: str | None) -> StoreSettings:
    changed = {}
    for option, text in (("keep", keep), ("keep_dedupe", keep_dedupe)):
        if text is not None:
            try:
                changed[option] = parse_duration(text)
            except ValueError as error:
                raise UsageError(f"--{option.replace('_', '-')} {text}: {error}") from None
    return settings.model_copy(update=changed)


def _limits_ms(settings: StoreSettings, now_ms: int) -> dict[str, int]:
    return {
        "events_before_ms": now_ms - int(settings.keep.total_seconds() * 1000),
        "keys_before_ms": now_ms - int(settings.keep_dedupe.total_seconds() * 1000),
    }


async def _prunable(settings: Settings, kept: StoreSettings, now_ms: int) -> inspection.Prunable:
    limits = _limits_ms(kept, now_ms)
    async with opened(settings, "reader") as store:
        return await store.read(lambda db: inspection.prunable(db, **limits))


async def _prune(settings: Settings, kept: StoreSettings, now_ms: int) -> int:
    """Remove it; how many events."""
    # Slow to import, and only this needs it.
    from receiver.housekeeping import prune_all  # noqa: PLC0415

    async with opened(settings, "guest") as store:
        # Each round looks through one part of the dedupe keys.
        return sum([await prune_all(store, kept, now_ms=now_ms) for _ in range(KEY_SLICES)])


async def _stats(settings: Settings) -> dict[str, Any]:
    schema = migration_steps(store_of(settings, "reader").path).applied[-1:]
    async with opened(settings, "reader") as store:
        found = await store.read(inspection.statistics)
        path = store.path
    files = {
        name: candidate.stat().st_size if candidate.exists() else 0
        for name, suffix in (("database", ""), ("wal", "-wal"), ("shm", "-shm"))
        for candidate in [path.with_name(path.name + suffix)]
    }
    oldest = min((each.oldest_ms for each in found.events), default=None)
    newest = max((each.newest_ms for each in found.events), default=None)
    states: dict[str, int] = {}
    for _, _, state, count in found.deliveries:
        states[state] = states.get(state, 0) + count
    return {
        "file": str(path),
        "schema": "".join(schema),
        "sqlite": ".".join(map(str, SQLITE_VERSION)),
        "bytes": files,
        "free_bytes": found.free_pages * found.page_bytes,
        "oldest_event": None if oldest is None else iso(from_ms(oldest)),
        "newest_event": None if newest is None else iso(from_ms(newest)),
        "rows": dict(found.rows),
        "states": states,
        "types": [
            {
                "type": each.type,
                "source": each.source,
                "events": each.events,
                "body_bytes": each.body_bytes,
                "newest": iso(from_ms(each.newest_ms)),
            }
            for each in found.events
        ],
        "deliveries": [
            {"kind": kind, "name": name, "state": state, "count": count}
            for kind, name, state, count in found.deliveries
        ],
        "keep": format_duration(settings.store.keep),
    }


def _print_stats(found: dict[str, Any]) -> None:
    print_line(found["file"], "bold")
    sizes = found["bytes"]
    facts = {
        "size": f"{_size(sizes['database'])}, of which {_size(found['free_bytes'])} free",
        "wal": _size(sizes["wal"]),
        "schema": found["schema"],
        "sqlite": found["sqlite"],
        "oldest event": found["oldest_event"] or "none",
        "newest event": found["newest_event"] or "none",
        "kept": found["keep"],
        **{table.replace("_", " "): count for table, count in found["rows"].items()},
    }
    for name, value in facts.items():
        print_line(f"  {name:14} {value}")
    if found["types"]:
        print_line()
        print_table(
            ("type", "source", "events", "body", "newest"),
            [
                (e["type"], e["source"], e["events"], _size(e["body_bytes"]), e["newest"])
                for e in found["types"]
            ],
        )
    if found["deliveries"]:
        print_line()
        print_table(
            ("handler or target", "state", "deliveries"),
            [(each["name"], each["state"], each["count"]) for each in found["deliveries"]],
        )


def _size(size_bytes: int) -> str:
    """A size for people.

    >>> _size(512), _size(2048), _size(5 * 1024 * 1024)
    ('512 B', '2.0 KiB', '5.0 MiB')
    """
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _words(events: int, dedupe_keys: int) -> str:
    return f"{_count(events, 'event')} and {_count(dedupe_keys, 'dedupe key')}"


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"
