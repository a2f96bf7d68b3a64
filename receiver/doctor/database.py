"""What the database holds: is it whole, who works on it, and what is stuck in it."""

import asyncio
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from receiver.doctor.finding import Finding, fault, ok, warning
from receiver.errors import StoreError
from receiver.model import State
from receiver.settings import Settings
from receiver.store import inspection
from receiver.store.base import EventFilter
from receiver.store.configured import open_store
from receiver.store.schema import migration_steps
from receiver.store.sqlite import SqliteStore

_CROWDED = 0.8
"""The part of `store.max_backlog` from which it is worth a word."""
_AHEAD = timedelta(minutes=1)
_MOST_NAMES = 5


def examine_database(settings: Settings, names: Collection[str] | None) -> list[Finding]:
    """Look at the file through a reader's connection: a server may run, and nothing is changed.

    `names` are those of the handlers and targets that there are; None: not known.
    """
    return asyncio.run(_examine(settings, names))


async def _examine(settings: Settings, names: Collection[str] | None) -> list[Finding]:
    store = open_store(settings, role="reader")
    schema = _examine_schema(store)
    if schema.remedy:
        return [schema]
    try:
        await store.open()
        return [
            schema,
            await _examine_journal(store),
            *await _examine_soundness(store),
            await _examine_workers(store),
            await _examine_backlog(store, settings),
            await _examine_dead(store),
            await _examine_silences(store),
            await _examine_orphans(store, names),
            await _examine_future(store),
        ]
    except StoreError as error:
        return [schema, fault("database", str(error), "see docs/store.md, Backup: restoring one")]
    finally:
        await store.close()


def _examine_schema(store: SqliteStore) -> Finding:
    try:
        applied, pending = migration_steps(store.path)
    except StoreError as error:
        return fault("database", str(error), "see docs/store.md, Backup: restoring one")
    if pending:
        text = f"written by an older clarihook: {len(pending)} steps behind"
        return warning("database", text, "`clarihook db migrate`, or start `clarihook serve`")
    return ok("database", f"{store.path}, schema {applied[-1]}")


async def _examine_silences(store: SqliteStore) -> Finding:
    active = await store.silences(active_ms=int(time.time() * 1000))
    if not active:
        return ok("silences", "none, so nobody keeps messages back")
    held = sum((await store.held_by_silences()).values())
    return ok("silences", f"{len(active)} in force, which hold {held}: `clarihook silence list`")


async def _examine_journal(store: SqliteStore) -> Finding:
    mode = await store.read(lambda db: str(db.execute("PRAGMA journal_mode").fetchone()[0]))
    if mode != "wal":
        text = f"the journal mode is {mode}, not wal: somebody has changed it"
        return warning("journal", text, "start `clarihook serve`, which sets it")
    return ok("journal", "write-ahead log")


async def _examine_soundness(store: SqliteStore) -> list[Finding]:
    problems = await store.read(lambda db: inspection.check(db, is_quick=True))
    remedy = "keep a copy of all four files, then restore a backup (docs/store.md)"
    if problems:
        return [fault("soundness", problem, remedy) for problem in problems[:_MOST_NAMES]]
    return [ok("soundness", "quick_check, references and states are right")]


async def _examine_workers(store: SqliteStore) -> Finding:
    workers = await store.read(lambda db: inspection.known_workers(db, store.path))
    alive = [worker for worker in workers if worker.is_alive]
    if not alive:
        text = "no server runs, so nothing is received or run"
        if workers:
            text += f"; {len(workers)} ended without a goodbye"
        return warning("workers", text, "start `clarihook serve`")
    names = ", ".join(map(_describe, alive))
    dead = len(workers) - len(alive)
    if dead:
        text = f"alive: {names}; {dead} dead, whose deliveries are taken up within seconds"
        return ok("workers", text)
    return ok("workers", f"alive: {names}")


def _describe(worker: inspection.KnownWorker) -> str:
    started = datetime.fromtimestamp(worker.started_ms / 1000, UTC)
    return f"process {worker.pid} since {started:%Y-%m-%dT%H:%M:%SZ}"


async def _examine_backlog(store: SqliteStore, settings: Settings) -> Finding:
    states = await store.count_states()
    shown = ", ".join(f"{states[state]} {state}" for state in State if state in states) or "none"
    waiting, most = await store.backlog(), settings.store.max_backlog
    remedy = "see what is slow: `clarihook deliveries list --state pending`; or raise max_backlog"
    if waiting >= most:
        text = f"{waiting} wait, store.max_backlog is {most}: webhooks are answered 503"
        return fault("backlog", text, remedy)
    if waiting >= _CROWDED * most:
        return warning("backlog", f"{waiting} wait, store.max_backlog is {most}", remedy)
    return ok("backlog", f"deliveries: {shown}")


async def _examine_dead(store: SqliteStore) -> Finding:
    names = await store.dead()
    if not names:
        return ok("dead", "no delivery is dead")
    remedy = "`clarihook deliveries list --state dead` says why; then retry or discard them"
    return warning("dead", f"{sum(names.values())} deliveries are dead: {_named(names)}", remedy)


async def _examine_orphans(store: SqliteStore, names: Collection[str] | None) -> Finding:
    if names is None:
        return ok("orphans", "not looked for, since handlers or channels are at fault")
    waiting = {name: n for name, n in (await store.waiting()).items() if name not in names}
    if not waiting:
        return ok("orphans", "whatever waits has its handler or target")
    remedy = "bring back the handler or target of that name, or discard them"
    text = f"{sum(waiting.values())} deliveries wait for what is not there: {_named(waiting)}"
    return warning("orphans", text, remedy)


async def _examine_future(store: SqliteStore) -> Finding:
    newest = await store.events(EventFilter(), limit=1)
    if not newest:
        return ok("events", "none yet")
    received = newest[0].received_at
    shown = f"{received:%Y-%m-%dT%H:%M:%SZ}"
    if received > datetime.fromtimestamp(time.time(), UTC) + _AHEAD:
        remedy = "see that the clock is right now, and kept by NTP"
        return warning("events", f"the newest came at {shown}, in the future", remedy)
    return ok("events", f"the newest came at {shown}")


def _named(counts: dict[str, int]) -> str:
    most = sorted(counts.items(), key=lambda item: -item[1])[:_MOST_NAMES]
    others = len(counts) - len(most)
    shown = ", ".join(f"{count} of {name}" for name, count in most)
    return f"{shown} and {others} others" if others else shown
