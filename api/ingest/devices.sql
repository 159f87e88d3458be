-- name: register
WITH device AS (
    INSERT INTO devices (device_id, platform, app_version, may_push)
    VALUES (%(device_id)s, %(platform)s, %(app_version)s, %(may_push)s)
    RETURNING device_id
)
INSERT INTO consents (device_id, purpose, granted)
SELECT device.device_id, given.purpose, given.granted
FROM device, unnest(%(purposes)s::text[], %(granted)s::boolean[]) AS given (purpose, granted)

-- name: consent
WITH given AS (
    INSERT INTO consents (device_id, purpose, granted)
    SELECT %(device_id)s, purpose, granted
    FROM unnest(%(purposes)s::text[], %(granted)s::boolean[]) AS given (purpose, granted)
)
UPDATE devices
SET may_push = coalesce(%(may_push)s, may_push), changed_at = clock_timestamp()
WHERE device_id = %(device_id)s AND revoked_at IS NULL
RETURNING device_id

-- name: revoke
UPDATE devices
SET revoked_at = clock_timestamp(), may_push = false, changed_at = clock_timestamp()
WHERE device_id = %(device_id)s AND revoked_at IS NULL

-- name: one
SELECT device_id, platform, app_version, registered_at
FROM devices
WHERE device_id = %(device_id)s AND revoked_at IS NULL

-- name: consents
SELECT DISTINCT ON (purpose) purpose, granted
FROM consents
WHERE device_id = %(device_id)s
ORDER BY purpose, consent_id DESC

-- name: denied
SELECT device_id, may_push
FROM devices
WHERE (%(since)s::timestamptz IS NULL AND NOT may_push) OR changed_at > %(since)s

-- name: now
SELECT clock_timestamp() AS now
