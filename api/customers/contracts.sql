-- name: add
INSERT INTO contracts (tenant_id, name, scopes, zone_ids, areas, ends_at)
VALUES (acting_tenant(), %(name)s, %(scopes)s, %(zone_ids)s, %(areas)s, %(ends_at)s)
RETURNING contract_id, name, scopes, zone_ids, areas, created_at, ends_at

-- name: contracts
SELECT contract_id, name, scopes, zone_ids, areas, created_at, ends_at
FROM contracts
WHERE tenant_id = acting_tenant()
ORDER BY created_at, contract_id

-- name: end
UPDATE contracts SET ends_at = clock_timestamp()
WHERE contract_id = %(contract_id)s AND tenant_id = acting_tenant() AND (ends_at IS NULL OR ends_at > clock_timestamp())
RETURNING contract_id

-- name: lock
-- Whoever makes a key waits for whoever makes another one in the same contract.
SELECT scopes FROM contracts
WHERE contract_id = %(contract_id)s AND tenant_id = acting_tenant() AND (ends_at IS NULL OR ends_at > clock_timestamp())
FOR NO KEY UPDATE

-- name: live_keys
SELECT count(*) AS count FROM api_keys
WHERE contract_id = %(contract_id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())

-- name: put_key
INSERT INTO api_keys (key_id, secret_hash, name, scopes, expires_at, tenant_id, contract_id, made_by, replaces)
VALUES (
    %(key_id)s, %(secret_hash)s, %(name)s, %(scopes)s, %(expires_at)s, acting_tenant(), %(contract_id)s,
    acting_person(), %(replaces)s
)
ON CONFLICT (replaces) DO NOTHING
RETURNING key_id, contract_id, name, scopes, created_at, expires_at, revoked_at, replaces

-- name: keys
SELECT key_id, contract_id, name, scopes, created_at, expires_at, revoked_at, replaces
FROM api_keys
WHERE tenant_id = acting_tenant()
ORDER BY created_at, key_id

-- name: live_key
SELECT key_id, contract_id, name, scopes, expires_at FROM api_keys
WHERE key_id = %(key_id)s AND tenant_id = acting_tenant() AND revoked_at IS NULL
    AND (expires_at IS NULL OR expires_at > clock_timestamp())

-- name: let_run_out
UPDATE api_keys SET expires_at = least(expires_at, clock_timestamp() + %(overlap)s) WHERE key_id = %(key_id)s

-- name: revoke
UPDATE api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp())
WHERE key_id = %(key_id)s AND tenant_id = acting_tenant()
RETURNING key_id

-- name: audit
INSERT INTO audit_entries (actor, tenant_id, action, details)
VALUES (acting_person(), acting_tenant(), %(action)s, %(details)s)
