-- Every statement the SQLite store runs, each under its name. `(...)` rows are repeated by
-- `Queries.rows` for multi-row inserts.

-- name: batch_view
-- What happens with every event, recording it and succeeding plainly, goes through this view:
-- one INSERT of many rows, whose triggers do the work. In Python's sqlite3 each statement lets
-- go of the interpreter lock and waits for it several times, so that eight statements a batch
-- cost more in waiting than in writing; and one statement alone is a transaction by itself.
-- No value is ever NULL or bytes in Python: sqlite3 takes 1.5 us to bind one, 0.1 us for any
-- other. So '' and 0 stand for NULL, and a bytearray for bytes.
CREATE TEMP VIEW batch (op, id, a, b, c, d, e, f, g, h, i) AS
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL

-- name: batch_event
-- An event, unless its key is taken: then that one is counted, and two changes become one.
CREATE TEMP TRIGGER batch_event
INSTEAD OF INSERT ON batch
WHEN new.op = 'event'
BEGIN
    INSERT INTO dedupe_keys (source, key, event_id, seen_at)
    VALUES (new.b, new.i, new.a, new.d)
    ON CONFLICT (source, key) DO UPDATE SET duplicates = duplicates + 1;
    INSERT INTO events (
        seq, id, source, type, received_at, body, headers, message_id, secret_index, dedupe_key
    )
    SELECT
        new.id, new.a, new.b, new.c, new.d, new.e, new.f,
        nullif(new.g, ''), nullif(new.h, -1), new.i
    WHERE (SELECT event_id FROM dedupe_keys WHERE source = new.b AND key = new.i) = new.a;
END

-- name: batch_seen
-- How often an event of the same batch had come before, if that was new.
CREATE TEMP TRIGGER batch_seen
INSTEAD OF INSERT ON batch
WHEN new.op = 'seen'
BEGIN
    UPDATE dedupe_keys
    SET duplicates = new.c
    WHERE source = new.b AND key = new.i AND event_id = new.a;
END

-- name: batch_delivery
-- A delivery of an event of the same batch, if that was new. It waits for its key while an
-- earlier one of the same name and key is unfinished. One whose retries step aside ('aside')
-- waits in any case: a 'turn' comes after it.
CREATE TEMP TRIGGER batch_delivery
INSTEAD OF INSERT ON batch
WHEN new.op IN ('delivery', 'aside')
BEGIN
    INSERT INTO deliveries (
        id, event_seq, kind, name, state, attempts, max_attempts, key,
        due_at, created_at, started_at, worker, steps_aside, waits_for_key
    )
    SELECT
        new.id, new.a, new.b, new.c, iif(new.i = 0, 'pending', 'running'), new.d, new.e,
        nullif(new.f, ''), new.g, new.g, nullif(new.h, 0), nullif(new.i, 0),
        new.op = 'aside',
        new.op = 'aside' OR new.f <> '' AND EXISTS (
            SELECT 1
            FROM deliveries
            WHERE
                name = new.c
                AND key = new.f
                AND key IS NOT NULL
                AND state IN ('pending', 'running', 'retrying', 'held')
        )
    WHERE EXISTS (SELECT 1 FROM events WHERE seq = new.a);
END

-- name: batch_turn
-- Of the deliveries with a name and a key one has the turn (waits_for_key = 0), to be claimed or
-- running. One that steps aside loses it while it waits for a retry (waits_for_key = 2). Whenever
-- nobody has it, it goes to the one whose retry has been due for the longest time, else to the
-- oldest, else to the one whose retry will be due first.
CREATE TEMP TRIGGER batch_turn
INSTEAD OF INSERT ON batch
WHEN new.op = 'turn'
BEGIN
    UPDATE deliveries
    SET waits_for_key = 2
    WHERE
        name = new.c
        AND key = new.f
        AND key IS NOT NULL
        AND state IN ('pending', 'running', 'retrying', 'held')
        AND waits_for_key = 0
        AND state = 'retrying'
        AND steps_aside = 1
        AND due_at > new.g;
    UPDATE deliveries
    SET waits_for_key = 0
    WHERE
        id = coalesce(
            (
                SELECT id
                FROM deliveries
                WHERE
                    name = new.c
                    AND key = new.f
                    AND state = 'retrying'
                    AND waits_for_key = 2
                    AND due_at <= new.g
                ORDER BY due_at, id
                LIMIT 1
            ),
            (
                SELECT id
                FROM deliveries
                WHERE
                    name = new.c
                    AND key = new.f
                    AND key IS NOT NULL
                    AND state IN ('pending', 'running', 'retrying', 'held')
                    AND waits_for_key = 1
                ORDER BY id
                LIMIT 1
            ),
            (
                SELECT id
                FROM deliveries
                WHERE
                    name = new.c
                    AND key = new.f
                    AND state = 'retrying'
                    AND waits_for_key = 2
                ORDER BY due_at, id
                LIMIT 1
            )
        )
        AND NOT EXISTS (
            SELECT 1
            FROM deliveries
            WHERE
                name = new.c
                AND key = new.f
                AND key IS NOT NULL
                AND state IN ('pending', 'running', 'retrying', 'held')
                AND waits_for_key = 0
        );
END

-- name: batch_success
-- A first attempt that succeeded, if the delivery is still this worker's.
CREATE TEMP TRIGGER batch_success
INSTEAD OF INSERT ON batch
WHEN new.op = 'success'
BEGIN
    UPDATE deliveries
    SET state = 'succeeded', finalized_at = new.d, worker = NULL
    WHERE id = new.id AND state = 'running' AND worker = new.e AND attempts = new.a;
    INSERT INTO attempts (delivery_id, number, started_at, duration_ms, outcome)
    SELECT new.id, new.a, new.b, new.c, 'delivered'
    WHERE changes() = 1;
END

-- name: insert_batch
INSERT INTO batch (op, id, a, b, c, d, e, f, g, h, i)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: largest_number
SELECT max(
    coalesce((SELECT max(seq) FROM events), 0),
    coalesce((SELECT max(id) FROM deliveries), 0)
)

-- name: find_dedupe_key
SELECT event_id
FROM dedupe_keys
WHERE source = ? AND key = ?

-- name: pass_turn_of_key
-- See `batch_turn`; the third value is the moment.
INSERT INTO batch (op, c, f, g)
VALUES ('turn', ?, ?, ?)

-- name: name_and_key
SELECT name, key
FROM deliveries
WHERE id = ?

-- name: claim
-- One priority at a time: an index seek, however many deliveries wait for a later moment.
UPDATE deliveries
SET state = 'running', attempts = attempts + 1, worker = ?1, started_at = ?2
WHERE id IN (
    SELECT id
    FROM deliveries
    WHERE
        name = ?3
        AND priority = ?4
        AND state IN ('pending', 'retrying')
        AND waits_for_key = 0
        AND due_at <= ?2
    ORDER BY due_at, id
    LIMIT ?5
)
RETURNING id

-- name: claim_suspect
-- One of those that have cost processes, if this worker runs no other one (`SUSPECT_DEATHS`).
UPDATE deliveries
SET state = 'running', attempts = attempts + 1, worker = ?1, started_at = ?2
WHERE id = (
    SELECT id
    FROM deliveries
    WHERE
        name = ?3
        AND priority = 2
        AND state IN ('pending', 'retrying')
        AND waits_for_key = 0
        AND due_at <= ?2
        AND NOT EXISTS (
            SELECT 1
            FROM deliveries AS other
            WHERE other.worker = ?1 AND other.state = 'running' AND other.priority = 2
        )
    ORDER BY due_at, id
    LIMIT 1
)
RETURNING id

-- name: take_lane
-- A lane for one worker alone: free once that one is no worker any more.
INSERT INTO lanes (name, worker)
VALUES (?1, ?2)
ON CONFLICT (name) DO UPDATE
SET worker = excluded.worker
WHERE
    lanes.worker IS NULL
    OR NOT EXISTS (SELECT 1 FROM workers WHERE workers.id = lanes.worker)

-- name: worker_of_lane
SELECT worker
FROM lanes
WHERE name = ?

-- name: claimed
SELECT
    deliveries.id,
    deliveries.name,
    deliveries.attempts,
    deliveries.attempts_forgiven,
    deliveries.max_attempts,
    coalesce(deliveries.retried_at, deliveries.created_at),
    deliveries.key,
    deliveries.replay_id,
    deliveries.message_id,
    events.seq,
    events.id,
    events.source,
    events.type,
    events.received_at,
    events.body,
    events.headers,
    events.message_id,
    events.secret_index,
    messages.channel,
    messages.title,
    messages.body,
    messages.severity,
    messages.format,
    messages.bodies,
    deliveries.note
FROM deliveries
JOIN events ON events.seq = deliveries.event_seq
LEFT JOIN messages ON messages.id = deliveries.message_id
WHERE deliveries.id IN (SELECT value FROM json_each(?))
ORDER BY deliveries.id

-- name: attachments_of
SELECT name, content_type, content
FROM attachments
WHERE message_id = ?
ORDER BY position

-- name: find_attempt
SELECT 1
FROM attempts
WHERE delivery_id = ? AND number = ? AND started_at = ? AND outcome = 'delivered'

-- name: finish
UPDATE deliveries
SET state = ?1, finalized_at = ?2, due_at = coalesce(?3, due_at), reason = ?4, worker = NULL
WHERE id = ?5 AND state = 'running' AND worker = ?6 AND attempts = ?7

-- name: insert_attempt
-- An attempt after one that may have arrived is a possible duplicate.
INSERT INTO attempts (
    delivery_id, number, started_at, duration_ms, outcome,
    error_class, error, traceback, status_code, possible_duplicate
)
VALUES (
    ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
    EXISTS (SELECT 1 FROM attempts WHERE delivery_id = ?1 AND outcome = 'unknown')
)

-- name: dead_delivery
-- What is told of it; nothing if a quiet replay made it.
SELECT
    deliveries.id,
    deliveries.kind,
    deliveries.name,
    events.id,
    events.type,
    events.source,
    deliveries.attempts,
    deliveries.reason,
    attempts.error_class,
    attempts.error,
    messages.channel
FROM deliveries
JOIN events ON events.seq = deliveries.event_seq
LEFT JOIN attempts
    ON attempts.delivery_id = deliveries.id AND attempts.number = deliveries.attempts
LEFT JOIN messages ON messages.id = deliveries.message_id
LEFT JOIN replays ON replays.id = deliveries.replay_id
WHERE deliveries.id = ? AND coalesce(replays.is_quiet, 0) = 0

-- name: kind_and_name
SELECT kind, name
FROM deliveries
WHERE id = ?

-- name: insert_fallback
-- Once for each message and target, however many targets die of it, or one of them again.
INSERT INTO deliveries (
    id, event_seq, kind, name, state, priority, max_attempts, due_at, created_at, message_id,
    replay_id, fallback_of, note
)
SELECT
    ?1, event_seq, 'target', ?2, 'pending', replay_id IS NOT NULL, ?3, ?4, ?4, message_id,
    replay_id, id, name || ' did not take this'
FROM deliveries AS dead
WHERE
    id = ?5
    AND NOT EXISTS (
        SELECT 1
        FROM deliveries AS other
        WHERE
            other.message_id = dead.message_id
            AND other.name = ?2
            AND other.replay_id IS dead.replay_id
    )

-- name: insert_message
INSERT INTO messages (delivery_id, channel, title, body, severity, format, bodies)
VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: insert_attachment
INSERT INTO attachments (message_id, position, name, content_type, content)
VALUES (?, ?, ?, ?, ?)

-- name: delivery_of_message
-- What a staged message inherits from the handler's delivery that said it, and whether it is
-- only shown: a quiet replay sends nothing.
SELECT
    event_seq,
    name,
    min(priority, 1),
    replay_id,
    coalesce((SELECT is_quiet FROM replays WHERE id = deliveries.replay_id), 0)
FROM deliveries
WHERE id = ?

-- name: insert_message_delivery
INSERT INTO deliveries (
    id, event_seq, kind, name, state, priority, max_attempts, key,
    due_at, created_at, message_id, replay_id, finalized_at, reason,
    hold_kind, hold_group, hold_throttle, hold_silence, note
)
VALUES (?1, ?2, 'target', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
    ?18)

-- name: insert_handler_delivery
-- More work on an event, found while one of its deliveries ran. It waits for its key.
INSERT INTO deliveries (
    id, event_seq, kind, name, state, priority, max_attempts, key, due_at, created_at, replay_id,
    steps_aside, waits_for_key
)
SELECT
    ?1, ?2, 'handler', ?3, 'pending', ?4, ?5, nullif(?6, ''), ?7, ?7, ?8, ?9,
    ?6 <> '' AND EXISTS (
        SELECT 1
        FROM deliveries
        WHERE
            name = ?3
            AND key = ?6
            AND key IS NOT NULL
            AND state IN ('pending', 'running', 'retrying', 'held')
    )

-- name: set_value
INSERT INTO handler_values (handler, key, value, updated_at)
VALUES (?, ?, ?, ?)
ON CONFLICT (handler, key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at

-- name: delete_value
DELETE FROM handler_values
WHERE handler = ? AND key = ?

-- name: release
-- Given back unrun: the claim's attempt does not count. One that ran before was retrying.
UPDATE deliveries
SET
    state = iif(attempts - attempts_forgiven > 1, 'retrying', 'pending'),
    attempts = attempts - 1,
    due_at = coalesce(?3, due_at),
    worker = NULL
WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'running' AND worker = ?2

-- name: stepping_aside
SELECT DISTINCT name, key
FROM deliveries
WHERE id IN (SELECT value FROM json_each(?)) AND steps_aside = 1

-- name: insert_worker
INSERT INTO workers (id, pid, machine, started_at, lease_until)
VALUES (?, ?, ?, ?, ?)

-- name: extend_lease
UPDATE workers
SET lease_until = ?
WHERE id = ?

-- name: workers
SELECT id, machine, lease_until
FROM workers

-- name: delete_worker
DELETE FROM workers
WHERE id = ?

-- name: orphans
SELECT id, attempts, attempts - attempts_forgiven, max_attempts, deaths, started_at, name, key
FROM deliveries
WHERE state = 'running' AND worker = ?
ORDER BY id

-- name: running_workers
SELECT DISTINCT worker
FROM deliveries
WHERE state = 'running'

-- name: rescue
-- It keeps its place: what was claimed before the backlog goes before it again. Not later than
-- now, though: the clock may have been put back.
UPDATE deliveries
SET
    state = ?1, finalized_at = ?2, due_at = min(due_at, ?3), reason = ?4, worker = NULL,
    deaths = ?5, priority = coalesce(?6, priority)
WHERE id = ?7 AND state = 'running' AND worker = ?8

-- name: save_circuit
INSERT INTO lanes (name, failures, open_until, reason)
VALUES (?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET
    failures = excluded.failures, open_until = excluded.open_until, reason = excluded.reason

-- name: insert_rejection
INSERT INTO rejections (received_at, source, status, reason, headers, body, body_bytes)
VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: trim_rejections
-- Each status by itself: anybody can make 401s, and they may not push out what is kept whole.
DELETE FROM rejections
WHERE
    status = ?2
    AND id NOT IN (SELECT id FROM rejections WHERE status = ?2 ORDER BY id DESC LIMIT ?1)

-- name: accept_rejection
UPDATE rejections
SET event_id = ?2
WHERE id = ?1

-- name: delete_old_rejections
DELETE FROM rejections
WHERE received_at < ?

-- name: insert_replay
INSERT INTO replays (created_at, author, selection, events, rest, is_quiet, driven_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, iif(?5 IS NULL, NULL, ?1))

-- name: extend_replay
-- Only one process at a time can take the next part: the one that knows what is left.
UPDATE replays
SET events = events + ?1, rest = ?2, driven_at = ?5
WHERE id = ?3 AND rest = ?4

-- name: take_over_replay
UPDATE replays
SET driven_at = ?3
WHERE id = ?1 AND driven_at < ?2

-- name: insert_replayed_delivery
-- It waits for its key as a live one does.
INSERT INTO deliveries (
    id, event_seq, kind, name, state, priority, max_attempts, key, due_at, created_at, replay_id,
    message_id, steps_aside, waits_for_key
)
SELECT
    ?7, seq, ?8, ?1, 'pending', 1, ?2, ?3, ?4, ?4, ?5, ?9, ?10,
    EXISTS (
        SELECT 1
        FROM deliveries
        WHERE
            name = ?1
            AND key = ?3
            AND state IN ('pending', 'running', 'retrying', 'held')
    )
FROM events
WHERE id = ?6

-- name: insert_replayed_deliveries
-- Those without a key, all at once: each statement lets go of the interpreter lock and waits for
-- it, and meanwhile no other process can write.
INSERT INTO deliveries (
    id, event_seq, kind, name, state, priority, max_attempts, due_at, created_at, replay_id,
    message_id
)
SELECT
    made.value ->> 0, events.seq, made.value ->> 2, made.value ->> 3, 'pending', 1,
    made.value ->> 4, ?2, ?2, ?1, made.value ->> 5
FROM json_each(?3) AS made
CROSS JOIN events ON events.id = made.value ->> 1

-- name: retry_by_hand
-- The schedule starts anew: the attempts so far stay counted, and are forgiven. So does its age.
UPDATE deliveries
SET
    state = 'pending',
    finalized_at = NULL,
    due_at = ?1,
    attempts_forgiven = attempts,
    retried_at = ?1,
    deaths = 0,
    priority = min(priority, replay_id IS NOT NULL),
    reason = NULL,
    waits_for_key = key IS NOT NULL AND EXISTS (
        SELECT 1
        FROM deliveries AS other
        WHERE
            other.name = deliveries.name
            AND other.key = deliveries.key
            AND other.key IS NOT NULL
            AND other.state IN ('pending', 'running', 'retrying', 'held')
    )
WHERE id = ?2 AND state = 'dead'
RETURNING id, name, key

-- name: make_due_now
UPDATE deliveries
SET due_at = ?1
WHERE id = ?2 AND state IN ('pending', 'retrying')
RETURNING id, name, key

-- name: release_by_hand
UPDATE deliveries
SET
    state = 'pending', due_at = ?1, retried_at = ?1, reason = NULL, hold_kind = NULL,
    hold_group = NULL, hold_throttle = NULL
WHERE id = ?2 AND state = 'held'
RETURNING id, name, key

-- name: discard
UPDATE deliveries
SET
    state = 'cancelled', finalized_at = ?1, reason = ?3, hold_kind = NULL, hold_group = NULL,
    hold_throttle = NULL
WHERE id = ?2 AND state IN ('pending', 'retrying', 'held', 'dead')
RETURNING id, name, key

-- name: removable_events
-- Those whose deliveries have all succeeded or been cancelled: what is dead waits for a person.
SELECT seq
FROM events
WHERE
    seq IN (SELECT value FROM json_each(?))
    AND NOT EXISTS (
        SELECT 1
        FROM deliveries
        WHERE event_seq = events.seq AND state NOT IN ('succeeded', 'cancelled')
    )
    AND NOT EXISTS (
        SELECT 1
        FROM deliveries
        JOIN deliveries AS digests ON digests.id = deliveries.merged_into
        WHERE
            deliveries.event_seq = events.seq
            AND digests.state NOT IN ('succeeded', 'cancelled')
    )

-- name: messages_of_events
SELECT DISTINCT message_id
FROM deliveries
WHERE event_seq IN (SELECT value FROM json_each(?)) AND message_id IS NOT NULL

-- name: delete_events
-- Their deliveries and attempts go with them.
DELETE FROM events
WHERE seq IN (SELECT value FROM json_each(?))

-- name: delete_messages
DELETE FROM messages
WHERE id IN (SELECT value FROM json_each(?))

-- name: next_dedupe_source
SELECT min(source)
FROM dedupe_keys
WHERE source > ?

-- name: delete_dedupe_keys
DELETE FROM dedupe_keys
WHERE source = ? AND key >= ? AND key < ? AND seen_at < ?
