"""The SQLite schema, one step per migration. A released step is never edited.

Moments are Unix milliseconds; the `v_` views show them as ISO 8601 text. The CHECKs hold the
invariants of `receiver.model.MOVES`: a delivery has a worker exactly while it runs, and
`finalized_at` exactly in a final state.
"""

from sqlite_utils import Database, Migrations

migrations = Migrations("clarihook")


def _run(db: Database, script: str) -> None:
    # executescript() would commit the migration's transaction half way.
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)


@migrations(name="0001_events_and_deliveries")
def _0001(db: Database) -> None:
    _run(
        db,
        """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL,
    type TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    body BLOB NOT NULL,
    headers TEXT NOT NULL,
    message_id TEXT,
    secret_index INTEGER,
    dedupe_key BLOB NOT NULL
);
CREATE TABLE dedupe_keys (
    source TEXT NOT NULL,
    key BLOB NOT NULL,
    event_id TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    duplicates INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (source, key)
) WITHOUT ROWID;
CREATE TABLE replays (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at INTEGER NOT NULL,
    author TEXT NOT NULL,
    selection TEXT NOT NULL,
    events INTEGER NOT NULL
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery_id INTEGER NOT NULL,
    channel TEXT NOT NULL,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    severity TEXT NOT NULL,
    format TEXT NOT NULL CHECK (format IN ('text', 'markdown', 'html'))
);
CREATE TABLE attachments (
    message_id INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    content_type TEXT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (message_id, position)
) WITHOUT ROWID;
CREATE TABLE workers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    pid INTEGER NOT NULL,
    machine TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL
);
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    event_seq INTEGER NOT NULL REFERENCES events (seq) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('handler', 'target')),
    name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('pending', 'running', 'retrying', 'held', 'succeeded', 'dead', 'cancelled')
    ),
    priority INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    attempts_forgiven INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL,
    key TEXT,
    waits_for_key INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finalized_at INTEGER,
    worker INTEGER,
    reason TEXT,
    message_id INTEGER REFERENCES messages (id),
    replay_id INTEGER REFERENCES replays (id),
    CHECK ((finalized_at IS NOT NULL) = (state IN ('succeeded', 'dead', 'cancelled'))),
    CHECK ((worker IS NOT NULL) = (state = 'running')),
    CHECK ((message_id IS NOT NULL) = (kind = 'target'))
);
CREATE INDEX deliveries_due ON deliveries (name, priority, due_at, id)
    WHERE state IN ('pending', 'retrying') AND waits_for_key = 0;
CREATE INDEX deliveries_running ON deliveries (worker) WHERE state = 'running';
CREATE INDEX deliveries_dead ON deliveries (name, id) WHERE state = 'dead';
CREATE INDEX deliveries_by_key ON deliveries (name, key, waits_for_key, id)
    WHERE key IS NOT NULL AND state IN ('pending', 'running', 'retrying', 'held');
CREATE INDEX deliveries_held ON deliveries (id) WHERE state = 'held';
CREATE INDEX deliveries_by_event ON deliveries (event_seq);
CREATE INDEX deliveries_by_replay ON deliveries (replay_id) WHERE replay_id IS NOT NULL;
CREATE INDEX deliveries_by_message ON deliveries (message_id) WHERE message_id IS NOT NULL;
CREATE TABLE attempts (
    delivery_id INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    duration_ms REAL NOT NULL,
    outcome TEXT NOT NULL CHECK (
        outcome IN ('delivered', 'transient', 'permanent', 'unknown')
    ),
    error_class TEXT,
    error TEXT,
    traceback TEXT,
    status_code INTEGER,
    possible_duplicate INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (delivery_id, number)
) WITHOUT ROWID;
CREATE TABLE handler_values (
    handler TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (handler, key)
) WITHOUT ROWID;
CREATE TABLE rejections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received_at INTEGER NOT NULL,
    source TEXT NOT NULL,
    status INTEGER NOT NULL,
    reason TEXT NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL,
    body_bytes INTEGER NOT NULL
);
""",
    )


@migrations(name="0002_views")
def _0002(db: Database) -> None:
    _run(
        db,
        """
CREATE VIEW v_events AS
SELECT
    seq,
    id,
    source,
    type,
    strftime('%Y-%m-%dT%H:%M:%fZ', received_at / 1000.0, 'unixepoch') AS received_at,
    CAST(body AS TEXT) AS body
FROM events;
CREATE VIEW v_deliveries AS
SELECT
    deliveries.id,
    events.id AS event_id,
    events.type AS event_type,
    deliveries.kind,
    deliveries.name,
    deliveries.state,
    deliveries.attempts,
    deliveries.max_attempts,
    deliveries.reason,
    strftime('%Y-%m-%dT%H:%M:%fZ', deliveries.due_at / 1000.0, 'unixepoch') AS due_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', deliveries.created_at / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', deliveries.finalized_at / 1000.0, 'unixepoch') AS finalized_at
FROM deliveries
JOIN events ON events.seq = deliveries.event_seq;
CREATE VIEW v_sync_completed AS
SELECT
    id,
    received_at,
    body ->> '$.timestamp' AS timestamp,
    body ->> '$.data.data_source_id' AS data_source_id,
    body ->> '$.data.data_source_name' AS data_source_name,
    body ->> '$.data.records_synced' AS records_synced,
    body ->> '$.data.duration_seconds' AS duration_seconds
FROM v_events
WHERE type = 'data_source.sync_completed';
CREATE VIEW v_sync_failed AS
SELECT
    id,
    received_at,
    body ->> '$.timestamp' AS timestamp,
    body ->> '$.data.data_source_id' AS data_source_id,
    body ->> '$.data.data_source_name' AS data_source_name,
    coalesce(
        body ->> '$.data.error_message', body ->> '$.data.error', body ->> '$.data.message'
    ) AS error
FROM v_events
WHERE type = 'data_source.sync_failed';
CREATE VIEW v_report_generated AS
SELECT
    id,
    received_at,
    body ->> '$.timestamp' AS timestamp,
    coalesce(body ->> '$.data.report_id', body ->> '$.data.id') AS report_id,
    coalesce(body ->> '$.data.report_name', body ->> '$.data.name') AS report_name,
    body ->> '$.data.status' AS status
FROM v_events
WHERE type = 'report.generated';
CREATE VIEW v_goal_milestone_reached AS
SELECT
    id,
    received_at,
    body ->> '$.timestamp' AS timestamp,
    body ->> '$.data.goal_id' AS goal_id,
    body ->> '$.data.goal_name' AS goal_name,
    body ->> '$.data.milestone' AS milestone
FROM v_events
WHERE type = 'goal.milestone_reached';
CREATE VIEW v_credits_low AS
SELECT
    id,
    received_at,
    body ->> '$.timestamp' AS timestamp,
    body ->> '$.data.remaining' AS remaining,
    body ->> '$.data.total' AS total
FROM v_events
WHERE type = 'billing.credits_low';
""",
    )


@migrations(name="0003_replays_in_parts")
def _0003(db: Database) -> None:
    _run(
        db,
        """
ALTER TABLE replays ADD COLUMN rest TEXT;
DROP INDEX deliveries_by_replay;
CREATE INDEX deliveries_by_replay ON deliveries (replay_id, state) WHERE replay_id IS NOT NULL;
""",
    )


@migrations(name="0004_several_processes")
def _0004(db: Database) -> None:
    _run(
        db,
        """
ALTER TABLE deliveries ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN retried_at INTEGER;
CREATE TABLE lanes (
    name TEXT PRIMARY KEY,
    worker INTEGER,
    failures INTEGER NOT NULL DEFAULT 0,
    open_until INTEGER,
    reason TEXT
) WITHOUT ROWID;
""",
    )


@migrations(name="0005_replays_of_messages")
def _0005(db: Database) -> None:
    # driven_at: when the process that adds a replay's parts last said that it is there. NULL if
    # nothing is to be added: it ended, was paused or cancelled.
    _run(
        db,
        """
ALTER TABLE replays ADD COLUMN is_quiet INTEGER NOT NULL DEFAULT 0;
ALTER TABLE replays ADD COLUMN driven_at INTEGER;
CREATE INDEX replays_driven ON replays (driven_at) WHERE driven_at IS NOT NULL;
CREATE VIEW v_messages AS
SELECT
    latest.event_seq,
    events.id AS event_id,
    latest.message_id,
    said.name AS handler,
    messages.channel,
    messages.severity,
    messages.title,
    messages.body,
    latest.name AS target,
    latest.id AS delivery_id,
    latest.state
FROM deliveries AS latest
JOIN events ON events.seq = latest.event_seq
JOIN messages ON messages.id = latest.message_id
JOIN deliveries AS said ON said.id = messages.delivery_id
WHERE
    NOT EXISTS (
        SELECT 1
        FROM deliveries AS later
        WHERE
            later.message_id = latest.message_id
            AND later.name = latest.name
            AND later.id > latest.id
    )
    AND NOT EXISTS (
        SELECT 1
        FROM deliveries AS other
        JOIN messages AS newer ON newer.id = other.message_id
        JOIN deliveries AS again ON again.id = newer.delivery_id
        WHERE
            other.event_seq = latest.event_seq
            AND other.state <> 'cancelled'
            AND again.name = said.name
            AND again.id > said.id
    );
""",
    )


@migrations(name="0006_accepted_rejections")
def _0006(db: Database) -> None:
    # event_id: the event that a refused request has become, if it was accepted after the fact.
    _run(
        db,
        """
ALTER TABLE rejections ADD COLUMN event_id TEXT;
CREATE INDEX rejections_by_status ON rejections (status, id);
""",
    )


@migrations(name="0007_stepping_aside")
def _0007(db: Database) -> None:
    # waits_for_key is 0 for the one of a key that has the turn, 1 for those that wait for it, and
    # 2 for those that have stepped aside until they are due.
    _run(
        db,
        """
ALTER TABLE deliveries ADD COLUMN steps_aside INTEGER NOT NULL DEFAULT 0;
CREATE INDEX deliveries_aside ON deliveries (name, key, due_at, id)
    WHERE state = 'retrying' AND waits_for_key = 2;
""",
    )


@migrations(name="0008_messages_in_several_formats")
def _0008(db: Database) -> None:
    # bodies: the body in other formats than `format`, as JSON: {"markdown": "…", "html": "…"}.
    _run(db, "ALTER TABLE messages ADD COLUMN bodies TEXT")


@migrations(name="0009_held_deliveries")
def _0009(db: Database) -> None:
    # hold_throttle: the throttle that counts it when it goes out, as JSON. merged_into: the
    # delivery of the digest in which a message went out. merges: how many messages a digest is.
    # A timer is of a group that has gone out (until_at: the next one not before) or of a
    # throttle's window (until_at: its end, sent: what went out in it).
    _run(
        db,
        """
ALTER TABLE deliveries ADD COLUMN hold_kind TEXT CHECK (
    hold_kind IN ('quiet', 'silence', 'group', 'throttle', 'escalation')
);
ALTER TABLE deliveries ADD COLUMN hold_group TEXT;
ALTER TABLE deliveries ADD COLUMN hold_throttle TEXT;
ALTER TABLE deliveries ADD COLUMN merged_into INTEGER;
ALTER TABLE messages ADD COLUMN merges INTEGER;
CREATE TABLE hold_timers (
    target TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('group', 'throttle')),
    key TEXT NOT NULL,
    until_at INTEGER NOT NULL,
    span_ms INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    PRIMARY KEY (target, kind, key)
) WITHOUT ROWID;
DROP INDEX deliveries_held;
CREATE INDEX deliveries_held ON deliveries (due_at) WHERE state = 'held';
CREATE INDEX deliveries_held_groups ON deliveries (hold_kind, hold_group, name, due_at)
    WHERE state = 'held';
CREATE INDEX deliveries_merged ON deliveries (merged_into) WHERE merged_into IS NOT NULL;
DROP VIEW v_messages;
CREATE VIEW v_messages AS
SELECT
    latest.event_seq,
    events.id AS event_id,
    latest.message_id,
    said.name AS handler,
    messages.channel,
    messages.severity,
    messages.title,
    messages.body,
    latest.name AS target,
    latest.id AS delivery_id,
    coalesce(digests.state, latest.state) AS state,
    latest.merged_into
FROM deliveries AS latest
JOIN events ON events.seq = latest.event_seq
JOIN messages ON messages.id = latest.message_id
JOIN deliveries AS said ON said.id = messages.delivery_id
LEFT JOIN deliveries AS digests ON digests.id = latest.merged_into
WHERE
    messages.merges IS NULL
    AND NOT EXISTS (
        SELECT 1
        FROM deliveries AS later
        WHERE
            later.message_id = latest.message_id
            AND later.name = latest.name
            AND later.id > latest.id
    )
    AND NOT EXISTS (
        SELECT 1
        FROM deliveries AS other
        JOIN messages AS newer ON newer.id = other.message_id
        JOIN deliveries AS again ON again.id = newer.delivery_id
        WHERE
            other.event_seq = latest.event_seq
            AND newer.merges IS NULL
            AND (other.state <> 'cancelled' OR other.merged_into IS NOT NULL)
            AND again.name = said.name
            AND again.id > said.id
    );
""",
    )


@migrations(name="0010_fallbacks")
def _0010(db: Database) -> None:
    _run(db, "ALTER TABLE deliveries ADD COLUMN fallback_of INTEGER;")


@migrations(name="0011_silences")
def _0011(db: Database) -> None:
    # A list is JSON; an empty one is no condition. hold_silence: the silence that holds a delivery.
    _run(
        db,
        """
CREATE TABLE silences (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    author TEXT NOT NULL,
    comment TEXT NOT NULL,
    types TEXT NOT NULL,
    sources TEXT NOT NULL,
    channels TEXT NOT NULL,
    severities TEXT NOT NULL,
    where_cel TEXT,
    ended_at INTEGER,
    ended_by TEXT
);
CREATE INDEX silences_active ON silences (until_at) WHERE ended_at IS NULL;
ALTER TABLE deliveries ADD COLUMN hold_silence INTEGER;
CREATE INDEX deliveries_silenced ON deliveries (hold_silence, due_at)
    WHERE state = 'held' AND hold_silence IS NOT NULL;
""",
    )


@migrations(name="0012_acknowledgements")
def _0012(db: Database) -> None:
    # note: words that the target gets before the message's title.
    _run(
        db,
        """
ALTER TABLE deliveries ADD COLUMN note TEXT;
CREATE TABLE acknowledgements (
    event_seq INTEGER PRIMARY KEY REFERENCES events (seq) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    author TEXT NOT NULL,
    how TEXT NOT NULL CHECK (how IN ('command', 'link')),
    comment TEXT
);
""",
    )


@migrations(name="0013_keys")
def _0013(db: Database) -> None:
    # Secrets that the deployment makes for itself.
    _run(db, "CREATE TABLE keys (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;")


@migrations(name="0014_console")
def _0014(db: Database) -> None:
    # digest: the SHA-256 of the token, which has 256 random bits itself and needs no slow hash.
    # SQLite can't change a CHECK, so acknowledgements are copied: there are few.
    _run(
        db,
        """
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('viewer', 'operator')),
    digest BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    used_at INTEGER,
    revoked_at INTEGER
);
CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked_at IS NULL;
ALTER TABLE acknowledgements RENAME TO old_acknowledgements;
CREATE TABLE acknowledgements (
    event_seq INTEGER PRIMARY KEY REFERENCES events (seq) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    author TEXT NOT NULL,
    how TEXT NOT NULL CHECK (how IN ('command', 'link', 'console')),
    comment TEXT
);
INSERT INTO acknowledgements (event_seq, at, author, how, comment)
SELECT event_seq, at, author, how, comment
FROM old_acknowledgements;
DROP TABLE old_acknowledgements;
""",
    )
