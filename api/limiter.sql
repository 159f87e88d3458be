-- name: take
WITH taken AS (
    INSERT INTO rate_limits AS held (scope, subject, free_at)
    VALUES (%(scope)s, %(subject)s, clock_timestamp() + make_interval(secs => %(step_s)s))
    ON CONFLICT (scope, subject) DO UPDATE
        SET free_at = greatest(held.free_at, clock_timestamp()) + make_interval(secs => %(step_s)s)
        WHERE held.free_at + make_interval(secs => %(step_s)s - %(burst_s)s) <= clock_timestamp()
    RETURNING free_at
)
-- Where nothing was taken, free_at is the one that this statement's snapshot saw: rivals may have moved it since.
SELECT
    EXISTS (SELECT FROM taken) AS allowed,
    (SELECT extract(epoch FROM free_at - clock_timestamp())::double precision + %(step_s)s - %(burst_s)s
     FROM rate_limits WHERE scope = %(scope)s AND subject = %(subject)s) AS wait_s

-- name: clean
DELETE FROM rate_limits
WHERE ctid = ANY (ARRAY(SELECT ctid FROM rate_limits WHERE free_at < clock_timestamp() LIMIT 1000))
