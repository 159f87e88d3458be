-- name: add
INSERT INTO webhook_endpoints (tenant_id, url, kinds, sealed_secret)
VALUES (acting_tenant(), %(url)s, %(kinds)s, %(sealed)s)
RETURNING endpoint_id, url, kinds, created_at, failing_since, disabled_at

-- name: count
SELECT count(*) AS count FROM webhook_endpoints WHERE tenant_id = acting_tenant()

-- name: alone
SELECT pg_advisory_xact_lock(hashtextextended('webhooks:' || acting_tenant()::text, 0))

-- name: endpoints
SELECT endpoint_id, url, kinds, created_at, failing_since, disabled_at
FROM webhook_endpoints
WHERE tenant_id = acting_tenant()
ORDER BY created_at, endpoint_id

-- name: drop
DELETE FROM webhook_endpoints WHERE endpoint_id = %(endpoint_id)s AND tenant_id = acting_tenant() RETURNING endpoint_id

-- name: rotate
UPDATE webhook_endpoints
SET sealed_former = sealed_secret, former_until = clock_timestamp() + %(overlap)s, sealed_secret = %(sealed)s
WHERE endpoint_id = %(endpoint_id)s AND tenant_id = acting_tenant()
RETURNING endpoint_id, url, kinds, created_at, failing_since, disabled_at

-- name: enable
UPDATE webhook_endpoints SET disabled_at = NULL, failing_since = NULL
WHERE endpoint_id = %(endpoint_id)s AND tenant_id = acting_tenant()
RETURNING endpoint_id

-- name: deliveries
SELECT event_id, kind, occurred_at, outcome, attempts, due_at, answer
FROM webhook_deliveries
WHERE endpoint_id = %(endpoint_id)s AND tenant_id = acting_tenant()
    AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
ORDER BY occurred_at DESC, event_id
LIMIT %(limit)s

-- name: replay
-- Those named, or all that were given up since then; the id stays, so a receiver that has it drops it.
UPDATE webhook_deliveries SET outcome = 'waiting', due_at = clock_timestamp(), attempts = 0
WHERE endpoint_id = %(endpoint_id)s AND tenant_id = acting_tenant() AND outcome <> 'waiting'
    AND (event_id = %(event_id)s OR (%(event_id)s::uuid IS NULL AND outcome = 'given_up' AND occurred_at >= %(since)s))
RETURNING event_id

-- name: take
-- Taken until the lease ends: whoever dies meanwhile leaves it to be sent again.
UPDATE webhook_deliveries d SET attempts = attempts + 1, due_at = clock_timestamp() + %(lease)s
FROM (
    SELECT endpoint_id, event_id FROM webhook_deliveries JOIN webhook_endpoints USING (endpoint_id)
    WHERE outcome = 'waiting' AND due_at <= clock_timestamp() AND disabled_at IS NULL
    ORDER BY due_at
    LIMIT %(most)s
    FOR UPDATE OF webhook_deliveries SKIP LOCKED
) AS due, webhook_endpoints e
WHERE (d.endpoint_id, d.event_id) = (due.endpoint_id, due.event_id) AND e.endpoint_id = d.endpoint_id
RETURNING d.endpoint_id, d.event_id, d.kind, d.occurred_at, d.data, d.attempts, e.url, e.sealed_secret,
    CASE WHEN e.former_until > clock_timestamp() THEN e.sealed_former END AS sealed_former

-- name: taken
UPDATE webhook_deliveries SET outcome = 'taken', due_at = NULL, answer = %(answer)s
WHERE endpoint_id = %(endpoint_id)s AND event_id = %(event_id)s

-- name: well
UPDATE webhook_endpoints SET failing_since = NULL WHERE endpoint_id = %(endpoint_id)s AND failing_since IS NOT NULL

-- name: later
UPDATE webhook_deliveries SET due_at = clock_timestamp() + %(pause)s, answer = %(answer)s
WHERE endpoint_id = %(endpoint_id)s AND event_id = %(event_id)s

-- name: give_up
UPDATE webhook_deliveries SET outcome = 'given_up', due_at = NULL, answer = %(answer)s
WHERE endpoint_id = %(endpoint_id)s AND event_id = %(event_id)s

-- name: failing
-- Disabled at once where it says that it is gone, else where it has taken nothing for long.
UPDATE webhook_endpoints
SET failing_since = coalesce(failing_since, clock_timestamp()),
    disabled_at = CASE WHEN %(gone)s OR failing_since < clock_timestamp() - %(patience)s THEN clock_timestamp() END
WHERE endpoint_id = %(endpoint_id)s AND disabled_at IS NULL
RETURNING tenant_id, url, disabled_at

-- name: admins
SELECT email, phone, locale FROM memberships JOIN people USING (person_id)
WHERE tenant_id = %(tenant_id)s AND role IN ('host', 'operator_admin') AND erased_at IS NULL

-- name: clean
DELETE FROM webhook_deliveries WHERE outcome <> 'waiting' AND occurred_at < clock_timestamp() - %(kept)s

-- name: audit
INSERT INTO audit_entries (actor, tenant_id, action, details)
VALUES (acting_person(), acting_tenant(), %(action)s, %(details)s)
