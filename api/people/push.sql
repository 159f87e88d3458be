-- name: register
INSERT INTO push_tokens (token, person_id) VALUES (%(token)s, %(person_id)s)
ON CONFLICT (token) DO UPDATE SET person_id = excluded.person_id, registered_at = clock_timestamp()

-- name: keep_newest
DELETE FROM push_tokens WHERE token IN (
    SELECT token FROM push_tokens WHERE person_id = %(person_id)s
    ORDER BY registered_at DESC
    OFFSET %(most)s
)

-- name: forget
DELETE FROM push_tokens WHERE token = %(token)s AND person_id = acting_person() RETURNING token
