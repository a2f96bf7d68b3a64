-- What `clarihook db` looks at. Each `broken_` query finds rows that break a promise of this
-- schema, as one text per row.

-- name: broken_states
-- The table's own CHECKs, which SQLite does not look at over a read-only connection.
SELECT printf('delivery dlv_%x: its columns do not fit its state, %s', id, state)
FROM deliveries
WHERE
    (finalized_at IS NOT NULL) <> (state IN ('succeeded', 'dead', 'cancelled'))
    OR (worker IS NOT NULL) <> (state = 'running')
    OR (message_id IS NOT NULL) <> (kind = 'target')
LIMIT ?

-- name: broken_attempt_numbers
-- Claiming counts the attempt, so no attempt has a number beyond the count.
SELECT
    printf('delivery dlv_%x: attempt %d of %d', deliveries.id, attempts.number, deliveries.attempts)
FROM attempts
JOIN deliveries ON deliveries.id = attempts.delivery_id
WHERE attempts.number < 1 OR attempts.number > deliveries.attempts
LIMIT ?

-- name: broken_begun_without_attempt
SELECT printf('delivery dlv_%x: %s, but no attempt is counted', id, state)
FROM deliveries
WHERE state IN ('running', 'retrying') AND attempts < 1
LIMIT ?

-- name: broken_success_without_attempt
SELECT printf('delivery dlv_%x: succeeded without an attempt that delivered', id)
FROM deliveries
WHERE
    state = 'succeeded'
    AND NOT EXISTS (
        SELECT 1
        FROM attempts
        WHERE attempts.delivery_id = deliveries.id AND attempts.outcome = 'delivered'
    )
LIMIT ?

-- name: broken_heads_of_keys
-- With none nothing of the key would ever run, with two there would be no order.
SELECT printf('key %s of %s: %d deliveries have the turn, not 1', key, name, heads)
FROM (
    SELECT name, key, count(*) FILTER (WHERE waits_for_key = 0) AS heads
    FROM deliveries INDEXED BY deliveries_by_key
    WHERE key IS NOT NULL AND state IN ('pending', 'running', 'retrying', 'held')
    GROUP BY name, key
)
WHERE heads <> 1
LIMIT ?

-- name: broken_messages
SELECT printf('message %d: the delivery that said it is gone', id)
FROM messages
WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.id = messages.delivery_id)
LIMIT ?

-- name: broken_event_ids
-- A range of time is found as a range of ids.
SELECT printf('event %s: its id does not say when it came', id)
FROM events
WHERE substr(id, 1, 16) <> printf('evt_%012x', received_at)
LIMIT ?

-- name: known_workers
SELECT id, pid, started_at, machine, lease_until
FROM workers
ORDER BY id

-- name: event_counts
SELECT type, source, count(*), sum(length(body)), min(received_at), max(received_at)
FROM events
GROUP BY type, source
ORDER BY count(*) DESC, type, source

-- name: delivery_counts
SELECT kind, name, state, count(*)
FROM deliveries
GROUP BY kind, name, state
ORDER BY kind, name

-- name: row_counts
SELECT
    (SELECT count(*) FROM events),
    (SELECT count(*) FROM dedupe_keys),
    (SELECT count(*) FROM deliveries),
    (SELECT count(*) FROM attempts),
    (SELECT count(*) FROM messages),
    (SELECT count(*) FROM handler_values),
    (SELECT count(*) FROM replays),
    (SELECT count(*) FROM rejections)

-- name: prunable
-- What `prune` would remove now, and what it would keep for a person although it is old.
SELECT
    (
        SELECT count(*)
        FROM events
        WHERE
            id < ?1
            AND NOT EXISTS (
                SELECT 1
                FROM deliveries
                WHERE event_seq = events.seq AND state NOT IN ('succeeded', 'cancelled')
            )
    ),
    (SELECT count(*) FROM events WHERE id < ?1),
    (SELECT count(*) FROM dedupe_keys WHERE seen_at < ?2)
