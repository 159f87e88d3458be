-- name: add
INSERT INTO people (email, password_hash, name, locale)
VALUES (%(email)s, %(password_hash)s, %(name)s, 'en')
ON CONFLICT DO NOTHING
RETURNING person_id

-- name: known
SELECT email FROM people WHERE email = ANY (%(emails)s) AND erased_at IS NULL ORDER BY email
