-- name: lock
SELECT pg_try_advisory_xact_lock(
    hashtextextended(concat_ws(chr(31), 'idempotency', %(principal)s::uuid, %(route)s::text, %(key)s::text), 0)
) AS locked

-- name: claim
-- No row if the key is new: it is put there now.
WITH fresh AS (
    INSERT INTO idempotency_keys (principal, route, key, body_hash)
    VALUES (%(principal)s, %(route)s, %(key)s, %(body_hash)s)
    ON CONFLICT DO NOTHING
)
SELECT body_hash, status, answer
FROM idempotency_keys
WHERE principal = %(principal)s AND route = %(route)s AND key = %(key)s

-- name: keep
UPDATE idempotency_keys SET status = %(status)s, answer = %(answer)s
WHERE principal = %(principal)s AND route = %(route)s AND key = %(key)s

-- name: clean
DELETE FROM idempotency_keys WHERE created_at < clock_timestamp() - make_interval(hours => %(hours)s)
