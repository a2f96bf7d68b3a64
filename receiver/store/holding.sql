-- Held deliveries: when they go out, letting them go, holding them on.

-- name: due_of_group
-- When the group goes out that this delivery would join; NULL if nothing of it is held.
SELECT min(due_at)
FROM deliveries
WHERE state = 'held' AND name = ?1 AND hold_kind = ?2 AND hold_group = ?3

-- name: timer
SELECT until_at, sent
FROM hold_timers
WHERE target = ?1 AND kind = ?2 AND key = ?3

-- name: set_timer
INSERT INTO hold_timers (target, kind, key, until_at, span_ms, sent)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (target, kind, key) DO UPDATE SET
    until_at = excluded.until_at, span_ms = excluded.span_ms, sent = excluded.sent

-- name: set_span
-- How long the group's next ones will wait after it goes out.
INSERT INTO hold_timers (target, kind, key, until_at, span_ms, sent)
VALUES (?1, 'group', ?2, 0, ?3, 0)
ON CONFLICT (target, kind, key) DO UPDATE SET span_ms = excluded.span_ms

-- name: start_span
-- A group goes out: what comes from now on waits for as long as its latest one said.
UPDATE hold_timers
SET until_at = ?3 + span_ms
WHERE target = ?1 AND kind = 'group' AND key = ?2

-- name: forget_timers
DELETE FROM hold_timers
WHERE
    until_at < ?1
    AND NOT EXISTS (
        SELECT 1
        FROM deliveries
        WHERE
            deliveries.state = 'held'
            AND deliveries.name = hold_timers.target
            AND deliveries.hold_group = hold_timers.key
    )

-- name: newest_held
-- The one that a digest takes its place from, if all of them are still held so.
SELECT max(id)
FROM deliveries
WHERE
    id IN (SELECT value FROM json_each(?1))
    AND state = 'held'
    AND name = ?2
    AND hold_kind = ?3
    AND hold_group = ?4
HAVING count(*) = json_array_length(?1)

-- name: held_member
SELECT
    deliveries.event_seq, deliveries.max_attempts, deliveries.hold_throttle, messages.delivery_id
FROM deliveries
JOIN messages ON messages.id = deliveries.message_id
WHERE deliveries.id = ?

-- name: common_fate
-- A digest of live messages and replayed ones is live.
SELECT min(priority), iif(count(replay_id) = count(*), max(replay_id), NULL)
FROM deliveries
WHERE id IN (SELECT value FROM json_each(?))

-- name: release_one
-- Its age counts from now: the time in which it was held is not one in which it failed.
UPDATE deliveries
SET
    state = 'pending', due_at = ?2, retried_at = ?2, reason = NULL, hold_kind = NULL,
    hold_group = NULL, hold_throttle = NULL
WHERE id = ?1 AND state = 'held'

-- name: insert_digest_message
INSERT INTO messages (delivery_id, channel, title, body, severity, format, merges)
VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: insert_digest
INSERT INTO deliveries (
    id, event_seq, kind, name, state, priority, max_attempts, due_at, created_at, message_id,
    replay_id
)
VALUES (?1, ?2, 'target', ?3, 'pending', ?4, ?5, ?6, ?6, ?7, ?8)

-- name: merge
UPDATE deliveries
SET
    state = 'cancelled', finalized_at = ?2, reason = ?3, merged_into = ?4, hold_kind = NULL,
    hold_group = NULL, hold_throttle = NULL
WHERE id IN (SELECT value FROM json_each(?1))

-- name: wait_for_next
-- What has joined a group while its digest was made goes out with the next one.
UPDATE deliveries
SET due_at = ?4
WHERE
    state = 'held'
    AND name = ?1
    AND hold_kind = ?2
    AND hold_group = ?3
    AND due_at < ?4

-- name: hold_by_throttle
UPDATE deliveries
SET
    hold_kind = 'throttle', hold_group = ?2, due_at = ?3, reason = ?4, hold_throttle = NULL,
    hold_silence = NULL
WHERE id IN (SELECT value FROM json_each(?1))

-- name: hold_on
-- An escalation stays one, so that an acknowledgement still finds it.
UPDATE deliveries
SET
    hold_kind = iif(hold_kind = 'escalation', hold_kind, ?2),
    due_at = ?3,
    reason = ?4,
    hold_silence = ?5
WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'held'

-- name: cancel_held
UPDATE deliveries
SET
    state = 'cancelled', finalized_at = ?4, reason = ?3, hold_kind = NULL, hold_group = NULL,
    hold_throttle = NULL
WHERE state = 'held' AND hold_kind = ?1 AND hold_group = ?2
RETURNING id

-- name: restart_window
-- What was held is the first that goes out in the window that begins now.
UPDATE hold_timers
SET until_at = ?3 + span_ms, sent = 1
WHERE target = ?1 AND kind = 'throttle' AND key = ?2
