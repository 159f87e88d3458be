-- name: any
SELECT 1 FROM api_keys LIMIT 1

-- name: add
INSERT INTO api_keys (key_id, secret_hash, name, scopes) VALUES (%s, %s, %s, %s) ON CONFLICT (key_id) DO NOTHING

-- name: live
SELECT secret_hash, scopes
FROM api_keys
WHERE key_id = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
