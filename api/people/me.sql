-- name: me
SELECT person_id, email, phone, name, locale, created_at
FROM people
WHERE person_id = acting_person() AND erased_at IS NULL

-- name: password_hash
SELECT password_hash FROM people WHERE person_id = acting_person() AND erased_at IS NULL

-- name: change
UPDATE people SET name = coalesce(%(name)s, name), locale = coalesce(%(locale)s, locale)
WHERE person_id = acting_person() AND erased_at IS NULL

-- name: consents
SELECT DISTINCT ON (purpose) purpose, granted
FROM person_consents
WHERE person_id = acting_person()
ORDER BY purpose, consent_id DESC

-- name: consent_history
SELECT purpose, granted, recorded_at FROM person_consents WHERE person_id = acting_person() ORDER BY consent_id

-- name: memberships
SELECT tenant_id, name, kind, role FROM memberships JOIN tenants USING (tenant_id)
WHERE person_id = acting_person()
ORDER BY name, tenant_id, role

-- name: vehicles
SELECT vehicle_id, plate, kind, length_cm, width_cm, height_cm
FROM vehicles
WHERE person_id = acting_person()
ORDER BY created_at, vehicle_id

-- name: add_vehicle
INSERT INTO vehicles (person_id, plate, kind, length_cm, width_cm, height_cm)
SELECT acting_person(), %(plate)s, %(kind)s, %(length_cm)s, %(width_cm)s, %(height_cm)s
WHERE (SELECT count(*) FROM vehicles WHERE person_id = acting_person()) < %(most)s
RETURNING vehicle_id, plate, kind, length_cm, width_cm, height_cm

-- name: delete_vehicle
DELETE FROM vehicles WHERE vehicle_id = %(vehicle_id)s AND person_id = acting_person() RETURNING vehicle_id

-- name: forget_push_tokens
DELETE FROM push_tokens WHERE person_id = acting_person()

-- name: delete_vehicles
DELETE FROM vehicles WHERE person_id = acting_person()

-- name: link_device
INSERT INTO person_devices (device_id, person_id) VALUES (%(device_id)s, acting_person())
ON CONFLICT (device_id) DO NOTHING

-- name: devices
SELECT device_id, linked_at FROM person_devices WHERE person_id = acting_person() ORDER BY linked_at

-- name: sign_ins
SELECT family_id, min(issued_at) AS began_at, max(issued_at) AS last_used_at
FROM refresh_tokens
WHERE person_id = acting_person()
GROUP BY family_id
HAVING bool_and(revoked_at IS NULL) AND max(expires_at) > clock_timestamp()
ORDER BY began_at

-- name: payments
SELECT booking_id, captured_at AS at, rail AS way, currency, amount_minor
FROM captures
WHERE driver_id = acting_person()
UNION ALL
SELECT booking_id, changed_at, way, currency, -amount_minor
FROM refunds
WHERE driver_id = acting_person() AND status IN ('done', 'failed')
ORDER BY at

-- name: end_sign_ins
UPDATE refresh_tokens SET revoked_at = clock_timestamp() WHERE person_id = acting_person() AND revoked_at IS NULL

-- name: request_erasures
INSERT INTO erasure_requests (device_id) SELECT device_id FROM person_devices WHERE person_id = acting_person()
ON CONFLICT (device_id) DO NOTHING

-- name: revoke_devices
UPDATE devices SET revoked_at = clock_timestamp(), may_push = false, changed_at = clock_timestamp()
WHERE revoked_at IS NULL
    AND device_id IN (SELECT device_id FROM person_devices WHERE person_id = acting_person())
RETURNING device_id

-- name: leave_tenants
DELETE FROM memberships WHERE person_id = acting_person()

-- name: erase
UPDATE people
SET email = NULL, phone = NULL, password_hash = NULL, name = '', erased_at = clock_timestamp()
WHERE person_id = acting_person() AND erased_at IS NULL
RETURNING person_id

-- name: bookings
SELECT booking_id, coalesce(places.name, ''), status, lower(during) AS starts_at, upper(during) AS ends_at, plate,
    currency, total_minor
FROM bookings LEFT JOIN places USING (place_id)
WHERE driver_id = acting_person()
ORDER BY bookings.created_at, booking_id

-- name: photos
SELECT photo_id, place_id, booking_id, width_px, height_px, added_at FROM photos
WHERE added_by = acting_person() AND state = 'shown'
ORDER BY added_at, photo_id

-- name: reviews
SELECT booking_id, stars, text, created_at FROM reviews
WHERE (author = 'driver' AND driver_id = acting_person())
    OR (author = 'host' AND tenant_id IN (SELECT tenant_id FROM memberships WHERE person_id = acting_person()))
ORDER BY created_at, review_id

-- name: reports
SELECT booking_id, booking_reports.kind, note, photo_id, outcome, booking_reports.created_at
FROM booking_reports JOIN bookings USING (booking_id)
WHERE driver_id = acting_person()
ORDER BY booking_reports.created_at, report_id

-- name: live_bookings
SELECT booking_id FROM bookings
WHERE driver_id = acting_person() AND status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')
    AND NOT (status = 'HELD' AND hold_expires_at <= clock_timestamp())
ORDER BY created_at

-- name: alone_in
-- Hosts that nobody but the person runs.
SELECT tenant_id FROM memberships m
WHERE person_id = acting_person() AND role = 'host' AND NOT EXISTS (
    SELECT FROM memberships o WHERE o.tenant_id = m.tenant_id AND o.role = 'host' AND o.person_id <> m.person_id
)

-- name: live_guests
SELECT booking_id FROM bookings
WHERE tenant_id = ANY (%(tenants)s) AND status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')
    AND NOT (status = 'HELD' AND hold_expires_at <= clock_timestamp())
ORDER BY created_at

-- name: close_places
-- What tells where the person lives is gone; bookings and ledgers still have something to point at.
UPDATE places
SET state = 'retired', name = '-', description = '', address = '', access_note = '', lat = shown_lat, lon = shown_lon
WHERE tenant_id = ANY (%(tenants)s)

-- name: empty_tenants
UPDATE tenants SET name = '-' WHERE tenant_id = ANY (%(tenants)s)

-- name: empty_blocks
UPDATE blocks SET reason = '' WHERE tenant_id = ANY (%(tenants)s)

-- name: empty_reviews
-- What the person wrote, and what hosts wrote of them.
UPDATE reviews SET text = ''
WHERE driver_id = acting_person() OR (author = 'host' AND tenant_id = ANY (%(tenants)s))

-- name: empty_reports
UPDATE booking_reports r SET note = ''
FROM bookings b WHERE b.booking_id = r.booking_id AND b.driver_id = acting_person()

-- name: drop_photos
UPDATE photos SET state = 'going', position = NULL, changed_at = clock_timestamp()
WHERE state <> 'going' AND (
    (added_by = acting_person() AND booking_id IS NOT NULL) OR (place_id IS NOT NULL AND tenant_id = ANY (%(tenants)s))
)

-- name: forget_plates
UPDATE bookings SET plate = '' WHERE driver_id = acting_person()

-- name: forget_pass_plates
UPDATE passes SET plate = '' WHERE driver_id = acting_person()

-- name: passes
SELECT place_id, month, plate, currency, price_minor, issued_at, ended_at FROM passes
WHERE driver_id = acting_person()
ORDER BY issued_at, pass_id
