-- name: put
INSERT INTO outbox (channel, recipient, template, locale, fields, expires_at)
VALUES (%(channel)s, %(recipient)s, %(template)s, %(locale)s, %(fields)s, clock_timestamp() + %(useful_for)s)

-- name: take
SELECT message_id, channel, recipient, template, locale, fields
FROM outbox
WHERE due_at <= clock_timestamp()
ORDER BY due_at
LIMIT 1
FOR UPDATE SKIP LOCKED

-- name: done
DELETE FROM outbox WHERE message_id = %(message_id)s

-- name: later
UPDATE outbox
SET attempts = attempts + 1, error = %(error)s,
    due_at = clock_timestamp() + least(interval '1 hour', interval '5 seconds' * power(2, attempts))
WHERE message_id = %(message_id)s

-- name: drop_expired
DELETE FROM outbox WHERE expires_at < clock_timestamp()
RETURNING channel

-- name: put_pushes
INSERT INTO outbox (channel, recipient, template, locale, fields, expires_at)
SELECT 'push', token, %(template)s, %(locale)s, %(fields)s, clock_timestamp() + %(useful_for)s
FROM push_tokens
WHERE person_id = %(person_id)s

-- name: forget_recipient
DELETE FROM push_tokens WHERE token = %(recipient)s
