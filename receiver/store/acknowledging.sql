-- Acknowledgements: who takes care of an event, and what then goes no further.

-- name: seq_of_event
SELECT seq
FROM events
WHERE id = ?

-- name: acknowledgement
SELECT events.id, acknowledgements.at, author, how, comment
FROM acknowledgements
JOIN events ON events.seq = acknowledgements.event_seq
WHERE events.id = ?

-- name: is_acknowledged
SELECT author
FROM acknowledgements
WHERE event_seq = ?

-- name: insert_acknowledgement
INSERT INTO acknowledgements (event_seq, at, author, how, comment)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT (event_seq) DO NOTHING

-- name: cancel_escalations
-- Its own, and those of other events of the same incident, for which one of them stands.
UPDATE deliveries
SET state = 'cancelled', finalized_at = ?2, reason = ?3
WHERE
    state = 'held'
    AND hold_kind = 'escalation'
    AND hold_group IN (
        SELECT own.hold_group
        FROM deliveries AS own
        WHERE own.event_seq = ?1 AND own.hold_kind = 'escalation'
    )
RETURNING id

-- name: waiting_escalation
SELECT 1
FROM deliveries
WHERE
    state = 'held'
    AND hold_kind = 'escalation'
    AND hold_group = ?1
    AND name = ?2
    AND event_seq <> ?3

-- name: insert_key
INSERT INTO keys (name, value)
VALUES ('links', ?)
ON CONFLICT (name) DO NOTHING

-- name: key
SELECT value
FROM keys
WHERE name = 'links'
