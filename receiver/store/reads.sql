-- What people and commands look at. Lists come as JSON arrays; a NULL parameter leaves its
-- condition out. An event's id begins with its time of arrival, so ranges of time are ranges
-- of ids, and need no index of their own.

-- fragment: event_filter
-- What an EventFilter says.
WHERE
    events.id > :after
    AND events.id < :before
    AND (:ids IS NULL OR events.id IN (SELECT value FROM json_each(:ids)))
    AND (:with_own OR events.source <> 'clarihook')
    -- Named whole: json_each has columns `id` and `type` of its own.
    AND (:types IS NULL OR EXISTS (
        SELECT 1 FROM json_each(:types) WHERE events.type GLOB value
    ))
    AND (:sources IS NULL OR EXISTS (
        SELECT 1 FROM json_each(:sources) WHERE events.source GLOB value
    ))
    AND (
        (:states IS NULL AND :message_states IS NULL)
        OR (:states IS NOT NULL AND EXISTS (
            SELECT 1
            FROM deliveries AS latest
            WHERE
                latest.event_seq = events.seq
                AND latest.kind = 'handler'
                AND latest.state IN (SELECT value FROM json_each(:states))
                AND (:names IS NULL OR latest.name IN (SELECT value FROM json_each(:names)))
                AND NOT EXISTS (
                    SELECT 1
                    FROM deliveries AS later
                    WHERE
                        later.event_seq = latest.event_seq
                        AND later.name = latest.name
                        AND later.id > latest.id
                )
        ))
        OR (:message_states IS NOT NULL AND EXISTS (
            SELECT 1
            FROM v_messages
            WHERE
                v_messages.event_seq = events.seq
                AND v_messages.state IN (SELECT value FROM json_each(:message_states))
                AND (:channel IS NULL OR v_messages.channel = :channel)
                AND (:names IS NULL OR v_messages.handler IN (
                    SELECT value FROM json_each(:names)
                ))
        ))
    )

-- name: event
SELECT
    events.seq,
    events.id,
    events.source,
    events.type,
    events.received_at,
    events.body,
    events.headers,
    events.message_id,
    events.secret_index,
    coalesce(dedupe_keys.duplicates, 0)
FROM events
LEFT JOIN dedupe_keys
    ON dedupe_keys.source = events.source AND dedupe_keys.key = events.dedupe_key
WHERE events.id = ?

-- name: events_newest
SELECT
    events.seq,
    events.id,
    events.source,
    events.type,
    events.received_at,
    events.body,
    events.headers,
    events.message_id,
    events.secret_index,
    coalesce(dedupe_keys.duplicates, 0)
FROM events
LEFT JOIN dedupe_keys
    ON dedupe_keys.source = events.source AND dedupe_keys.key = events.dedupe_key
-- include: event_filter
ORDER BY events.id DESC
LIMIT :limit

-- name: events_oldest
SELECT
    events.seq,
    events.id,
    events.source,
    events.type,
    events.received_at,
    events.body,
    events.headers,
    events.message_id,
    events.secret_index,
    coalesce(dedupe_keys.duplicates, 0)
FROM events
LEFT JOIN dedupe_keys
    ON dedupe_keys.source = events.source AND dedupe_keys.key = events.dedupe_key
-- include: event_filter
ORDER BY events.id ASC
LIMIT :limit

-- name: count_events
SELECT count(*)
FROM events
-- include: event_filter

-- name: states_of_events
SELECT events.id, deliveries.state, count(*)
FROM events
JOIN deliveries ON deliveries.event_seq = events.seq
WHERE events.id IN (SELECT value FROM json_each(?))
GROUP BY events.id, deliveries.state

-- name: latest_handler_states
-- Of a handler's deliveries of one event the latest counts: a replay may have mended it.
SELECT events.id, latest.name, latest.state
FROM events
JOIN deliveries AS latest ON latest.event_seq = events.seq
WHERE
    events.id IN (SELECT value FROM json_each(?))
    AND latest.kind = 'handler'
    AND NOT EXISTS (
        SELECT 1
        FROM deliveries AS later
        WHERE
            later.event_seq = latest.event_seq
            AND later.name = latest.name
            AND later.id > latest.id
    )

-- name: latest_messages
-- What each handler said last about an event, and how it stands with each target.
SELECT event_id, message_id, handler, channel, target, state
FROM v_messages
WHERE event_seq IN (
    SELECT seq FROM events WHERE id IN (SELECT value FROM json_each(?))
)
ORDER BY delivery_id

-- name: deliveries_newest
SELECT
    deliveries.id,
    events.id,
    events.type,
    deliveries.kind,
    deliveries.name,
    deliveries.state,
    deliveries.attempts,
    deliveries.max_attempts + deliveries.attempts_forgiven,
    deliveries.key,
    deliveries.due_at,
    deliveries.created_at,
    deliveries.started_at,
    deliveries.finalized_at,
    deliveries.reason,
    deliveries.replay_id,
    deliveries.message_id,
    deliveries.hold_kind,
    deliveries.hold_group,
    deliveries.merged_into,
    deliveries.fallback_of,
    deliveries.note
FROM deliveries
JOIN events ON events.seq = deliveries.event_seq
WHERE
    deliveries.id > :after
    AND deliveries.id < :before
    AND (:ids IS NULL OR deliveries.id IN (SELECT value FROM json_each(:ids)))
    AND (:states IS NULL OR deliveries.state IN (SELECT value FROM json_each(:states)))
    AND (:names IS NULL OR EXISTS (
        SELECT 1 FROM json_each(:names) WHERE deliveries.name GLOB value
    ))
    AND (:replay_id IS NULL OR deliveries.replay_id = :replay_id)
    AND (:merged_into IS NULL OR deliveries.merged_into = :merged_into)
ORDER BY deliveries.id DESC
LIMIT :limit

-- name: deliveries_of_event
SELECT
    deliveries.id,
    events.id,
    events.type,
    deliveries.kind,
    deliveries.name,
    deliveries.state,
    deliveries.attempts,
    deliveries.max_attempts + deliveries.attempts_forgiven,
    deliveries.key,
    deliveries.due_at,
    deliveries.created_at,
    deliveries.started_at,
    deliveries.finalized_at,
    deliveries.reason,
    deliveries.replay_id,
    deliveries.message_id,
    deliveries.hold_kind,
    deliveries.hold_group,
    deliveries.merged_into,
    deliveries.fallback_of,
    deliveries.note
FROM deliveries
JOIN events ON events.seq = deliveries.event_seq
WHERE events.id = ?
ORDER BY deliveries.id

-- name: deliveries_for_people
-- Both from indexes of their own, however many deliveries there are: by "+id" SQLite sorts the dead,
-- and does not look for them among all others, the newest first.
SELECT
    deliveries.id,
    events.id,
    events.type,
    deliveries.kind,
    deliveries.name,
    deliveries.state,
    deliveries.attempts,
    deliveries.max_attempts + deliveries.attempts_forgiven,
    deliveries.key,
    deliveries.due_at,
    deliveries.created_at,
    deliveries.started_at,
    deliveries.finalized_at,
    deliveries.reason,
    deliveries.replay_id,
    deliveries.message_id,
    deliveries.hold_kind,
    deliveries.hold_group,
    deliveries.merged_into,
    deliveries.fallback_of,
    deliveries.note
FROM deliveries
JOIN events ON events.seq = deliveries.event_seq
WHERE deliveries.id IN (
    SELECT id
    FROM (
        SELECT id
        FROM deliveries
        WHERE state = 'held' AND hold_kind = 'escalation'
        ORDER BY due_at
        LIMIT ?1
    )
    UNION ALL
    SELECT id
    FROM (SELECT id FROM deliveries WHERE state = 'dead' ORDER BY +id DESC LIMIT ?1)
)
ORDER BY deliveries.due_at, deliveries.id

-- name: count_states
SELECT state, count(*)
FROM deliveries
GROUP BY state

-- name: count_states_of_replay
SELECT state, count(*)
FROM deliveries
WHERE replay_id = ?
GROUP BY state

-- name: count_in_line
SELECT count(*)
FROM deliveries
WHERE replay_id = ? AND state IN ('pending', 'running')

-- name: attempts
SELECT
    delivery_id, number, started_at, duration_ms, outcome,
    error_class, error, traceback, status_code, possible_duplicate
FROM attempts
WHERE delivery_id = ?
ORDER BY number

-- name: message
SELECT channel, title, body, severity, format, bodies
FROM messages
WHERE id = ?

-- name: replay
SELECT id, created_at, author, selection, events, rest, is_quiet
FROM replays
WHERE id = ?

-- name: replays_newest
SELECT id
FROM replays
ORDER BY id DESC
LIMIT ?

-- name: abandoned_replays
SELECT id
FROM replays
WHERE driven_at < ?
ORDER BY id

-- name: open_circuits
SELECT name, failures, open_until, reason
FROM lanes
WHERE open_until IS NOT NULL
ORDER BY name

-- name: value
SELECT value
FROM handler_values
WHERE handler = ? AND key = ?

-- name: rejections_newest
SELECT id, received_at, source, status, reason, headers, body, body_bytes, event_id
FROM rejections
WHERE
    (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))
    AND (:sources IS NULL OR EXISTS (
        SELECT 1 FROM json_each(:sources) WHERE rejections.source GLOB value
    ))
    AND (:statuses IS NULL OR status IN (SELECT value FROM json_each(:statuses)))
    AND (:since IS NULL OR received_at >= :since)
    AND (:until IS NULL OR received_at < :until)
ORDER BY id DESC
LIMIT :limit

-- name: due_names
SELECT wanted.value
FROM json_each(?1) AS wanted
WHERE EXISTS (
    SELECT 1
    FROM deliveries
    WHERE
        name = wanted.value
        AND priority = 0
        AND state IN ('pending', 'retrying')
        AND waits_for_key = 0
        AND due_at <= ?2
)
OR EXISTS (
    SELECT 1
    FROM deliveries
    WHERE
        name = wanted.value
        AND priority = 1
        AND state IN ('pending', 'retrying')
        AND waits_for_key = 0
        AND due_at <= ?2
)
OR EXISTS (
    SELECT 1
    FROM deliveries
    WHERE
        name = wanted.value
        AND priority = 2
        AND state IN ('pending', 'retrying')
        AND waits_for_key = 0
        AND due_at <= ?2
)

-- name: count_waiting
-- From the same two partial indexes as `count_backlog`.
SELECT name, sum(waiting)
FROM (
    SELECT name, count(*) AS waiting
    FROM deliveries INDEXED BY deliveries_due
    WHERE state IN ('pending', 'retrying') AND waits_for_key = 0
    GROUP BY name
    UNION ALL
    SELECT name, count(*)
    FROM deliveries INDEXED BY deliveries_by_key
    WHERE
        key IS NOT NULL
        AND state IN ('pending', 'running', 'retrying', 'held')
        AND waits_for_key > 0
    GROUP BY name
)
GROUP BY name

-- name: count_held
SELECT count(*)
FROM deliveries INDEXED BY deliveries_held
WHERE state = 'held'

-- name: count_dead
SELECT name, count(*)
FROM deliveries INDEXED BY deliveries_dead
WHERE state = 'dead'
GROUP BY name

-- name: count_backlog
-- Two partial indexes, not a scan: what is due or will be, and what waits behind a key.
SELECT
    (
        SELECT count(*)
        FROM deliveries INDEXED BY deliveries_due
        WHERE state IN ('pending', 'retrying') AND waits_for_key = 0
    )
    + (
        SELECT count(*)
        FROM deliveries INDEXED BY deliveries_by_key
        WHERE
            key IS NOT NULL
            AND state IN ('pending', 'running', 'retrying', 'held')
            AND waits_for_key > 0
    )

-- name: old_events
-- What the writer may remove, as far as a reader can tell.
SELECT seq
FROM events
WHERE
    id < ?
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
ORDER BY id
LIMIT ?

-- name: due_groups
SELECT name, hold_kind, hold_group, min(due_at)
FROM deliveries INDEXED BY deliveries_held
WHERE state = 'held' AND due_at <= ?1
GROUP BY name, hold_kind, hold_group
ORDER BY min(due_at)
LIMIT ?2

-- name: held_messages
SELECT
    deliveries.id,
    deliveries.created_at,
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
    messages.bodies
FROM deliveries
JOIN events ON events.seq = deliveries.event_seq
JOIN messages ON messages.id = deliveries.message_id
WHERE
    deliveries.state = 'held'
    AND deliveries.name = ?1
    AND deliveries.hold_kind = ?2
    AND deliveries.hold_group = ?3
    AND deliveries.due_at <= ?4
    AND deliveries.id > ?5
ORDER BY deliveries.id
LIMIT ?6
