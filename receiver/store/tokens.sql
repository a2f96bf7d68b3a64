-- Tokens: who may look into the console.

-- name: add
INSERT INTO tokens (name, role, digest, created_at, expires_at)
VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING

-- name: revoke
UPDATE tokens
SET revoked_at = ?2
WHERE id = ?1 AND revoked_at IS NULL

-- name: use
UPDATE tokens
SET used_at = ?2
WHERE id = ?1

-- name: list
SELECT id, name, role, created_at, expires_at, used_at, revoked_at
FROM tokens
ORDER BY id

-- name: find
SELECT id, name, role, created_at, expires_at, used_at, revoked_at
FROM tokens
WHERE id = ?1 OR digest = ?2
