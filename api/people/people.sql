-- name: by_contact
SELECT person_id, password_hash, locale, CASE WHEN email = %(contact)s THEN 'email' ELSE 'phone' END AS kind
FROM people
WHERE email = %(contact)s OR phone = %(contact)s

-- name: put_code
INSERT INTO codes (code_id, purpose, contact, code_hash, payload, expires_at)
VALUES (%(code_id)s, %(purpose)s, %(contact)s, %(code_hash)s, %(payload)s, clock_timestamp() + %(lifetime)s)
ON CONFLICT (purpose, contact) DO UPDATE SET
    code_id = excluded.code_id, code_hash = excluded.code_hash, payload = excluded.payload, attempts = 0,
    expires_at = excluded.expires_at

-- name: try_code
UPDATE codes SET attempts = attempts + 1
WHERE purpose = %(purpose)s AND contact = %(contact)s AND attempts < %(most)s AND expires_at > clock_timestamp()
RETURNING code_id, code_hash, payload

-- name: use_code
DELETE FROM codes WHERE code_id = %(code_id)s RETURNING code_id

-- name: clean_codes
DELETE FROM codes WHERE expires_at < clock_timestamp()

-- name: add_person
INSERT INTO people (email, phone, password_hash, name, locale)
VALUES (%(email)s, %(phone)s, %(password_hash)s, %(name)s, %(locale)s)
ON CONFLICT DO NOTHING
RETURNING person_id

-- name: set_password
UPDATE people SET password_hash = %(password_hash)s WHERE person_id = %(person_id)s AND erased_at IS NULL
RETURNING person_id

-- name: set_contact
UPDATE people
SET email = CASE %(kind)s WHEN 'email' THEN %(contact)s ELSE email END,
    phone = CASE %(kind)s WHEN 'phone' THEN %(contact)s ELSE phone END
WHERE person_id = %(person_id)s AND erased_at IS NULL
RETURNING person_id

-- name: add_token
INSERT INTO refresh_tokens (token_hash, family_id, person_id, expires_at)
VALUES (%(token_hash)s, %(family_id)s, %(person_id)s, clock_timestamp() + %(lifetime)s)

-- name: use_token
UPDATE refresh_tokens SET used_at = clock_timestamp()
WHERE token_hash = %(token_hash)s AND used_at IS NULL AND revoked_at IS NULL AND expires_at > clock_timestamp()
RETURNING person_id, family_id

-- name: revoke_family_of
UPDATE refresh_tokens SET revoked_at = clock_timestamp()
WHERE family_id = (SELECT family_id FROM refresh_tokens WHERE token_hash = %(token_hash)s) AND revoked_at IS NULL

-- name: revoke_person
UPDATE refresh_tokens SET revoked_at = clock_timestamp()
WHERE person_id = %(person_id)s AND revoked_at IS NULL

-- name: clean_tokens
DELETE FROM refresh_tokens WHERE expires_at < clock_timestamp() - interval '30 days'

-- name: roles
SELECT tenant_id::text AS tenant_id, array_agg(role ORDER BY role) AS roles
FROM memberships
WHERE person_id = %(person_id)s
GROUP BY tenant_id

-- name: add_consents
INSERT INTO person_consents (person_id, purpose, granted)
SELECT %(person_id)s, purpose, granted
FROM unnest(%(purposes)s::text[], %(granted)s::boolean[]) AS given (purpose, granted)
