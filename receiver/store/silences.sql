-- Silences: who keeps which messages back, and until when.

-- name: add
INSERT INTO silences (
    created_at, until_at, author, comment, types, sources, channels, severities, where_cel
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: end
UPDATE silences
SET ended_at = ?2, ended_by = ?3
WHERE id = ?1 AND ended_at IS NULL AND until_at > ?2

-- name: make_due
-- The releaser asks for each whether another silence, or quiet hours, hold it now.
UPDATE deliveries
SET due_at = ?2
WHERE state = 'held' AND hold_silence = ?1 AND due_at > ?2

-- name: end_of
SELECT min(until_at, coalesce(ended_at, until_at))
FROM silences
WHERE id = ?

-- name: forget
DELETE FROM silences
WHERE
    min(until_at, coalesce(ended_at, until_at)) < ?1
    AND NOT EXISTS (
        SELECT 1
        FROM deliveries
        WHERE deliveries.state = 'held' AND deliveries.hold_silence = silences.id
    )

-- name: list
-- Those that end after a moment, the newest first; with NULL all.
SELECT
    id, created_at, until_at, author, comment, types, sources, channels, severities, where_cel,
    ended_at, ended_by
FROM silences
WHERE ?1 IS NULL OR (until_at > ?1 AND ended_at IS NULL)
ORDER BY id DESC

-- name: held
SELECT hold_silence, count(*)
FROM deliveries INDEXED BY deliveries_silenced
WHERE state = 'held' AND hold_silence IS NOT NULL
GROUP BY hold_silence
