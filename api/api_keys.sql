-- name: any
SELECT 1 FROM api_keys LIMIT 1

-- name: add
INSERT INTO api_keys (key_id, secret_hash, name, scopes) VALUES (%s, %s, %s, %s) ON CONFLICT (key_id) DO NOTHING

-- name: live
-- A contract that has ended, or was made for less than the key says, is what counts.
SELECT k.secret_hash, c.zone_ids, c.areas,
    CASE WHEN c.contract_id IS NULL THEN k.scopes
        ELSE ARRAY(SELECT unnest(k.scopes) INTERSECT SELECT unnest(c.scopes)) END AS scopes
FROM api_keys k LEFT JOIN contracts c USING (contract_id)
WHERE k.key_id = %s AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
    AND (c.ends_at IS NULL OR c.ends_at > clock_timestamp())
