-- name: party
-- What the acting person is to a booking; no row if they may not know of it.
SELECT driver_id = acting_person() AS is_driver,
    ARRAY(
        SELECT role FROM memberships m
        WHERE m.person_id = acting_person()
            AND (m.tenant_id = bookings.tenant_id OR m.role IN ('support', 'platform_admin'))
    ) AS roles
FROM bookings
WHERE booking_id = %(booking_id)s

-- name: mine
SELECT booking_id FROM bookings
WHERE driver_id = acting_person() AND (%(status)s::text IS NULL OR status = %(status)s)
    AND (created_at, booking_id) < (coalesce(%(before)s, 'infinity'::timestamptz), 'ffffffff-ffff-ffff-ffff-ffffffffffff')
ORDER BY created_at DESC, booking_id DESC
LIMIT %(limit)s

-- name: of_tenant
SELECT booking_id FROM bookings
WHERE tenant_id = %(tenant_id)s
    AND (%(plate)s::text IS NULL OR plate = %(plate)s)
    AND (%(status)s::text IS NULL OR status = %(status)s)
    AND during && tstzrange(%(starts_at)s, %(ends_at)s)
ORDER BY lower(during), booking_id
LIMIT %(limit)s

-- name: details
SELECT b.booking_id, b.kind, b.status, b.payment_status, b.reason, p.place_id, b.place_kind, p.name AS place_name,
    p.lat, p.lon, p.shown_lat, p.shown_lon, p.address, p.access_note, p.time_zone, y.name AS bay,
    b.driver_id, d.name AS driver_name, b.plate, b.vehicle_kind, lower(b.during) AS starts_at, upper(b.during) AS ends_at,
    coalesce(
        (SELECT max(upper(x.during)) FROM bookings x
         WHERE x.extends = b.booking_id AND x.status IN ('RESERVED', 'FULFILLED')),
        upper(b.during)
    ) AS stay_ends_at,
    b.currency, b.total_minor, b.overstay_minor, b.pay_later, b.hold_expires_at, b.arrives_at, b.approval, b.extends, b.replaces, b.pass_id,
    b.policy, b.checked_in_at, b.checked_out_at, b.created_at
FROM unnest(%(booking_ids)s::uuid[]) WITH ORDINALITY AS wanted (booking_id, place)
JOIN bookings b USING (booking_id)
JOIN places p USING (place_id)
JOIN people d ON d.person_id = b.driver_id
LEFT JOIN bays y ON y.space_id = b.space_id
ORDER BY wanted.place

-- name: history
SELECT at, from_status, to_status, place_id, space_id, lower(during) AS starts_at, upper(during) AS ends_at, reason
FROM booking_history
WHERE booking_id = %(booking_id)s
ORDER BY entry_id

-- name: reports
SELECT report_id, kind, note, photo_id, outcome, created_at FROM booking_reports
WHERE booking_id = %(booking_id)s
ORDER BY created_at, report_id

-- name: vehicle
SELECT plate, kind, length_cm, width_cm, height_cm FROM vehicles
WHERE vehicle_id = %(vehicle_id)s AND person_id = acting_person()

-- name: bay
SELECT lot_id, space_id FROM bays WHERE space_id = %(space_id)s AND retired_at IS NULL

-- name: late
UPDATE bookings SET arrives_at = %(arrives_at)s WHERE booking_id = %(booking_id)s

-- name: validate
UPDATE bookings SET validated_at = coalesce(validated_at, %(now)s)
WHERE booking_id = %(booking_id)s AND status IN ('ACTIVE', 'OVERSTAY')
RETURNING booking_id

-- name: report
INSERT INTO booking_reports (booking_id, tenant_id, kind, note, photo_id, outcome)
SELECT %(booking_id)s, %(tenant_id)s, %(kind)s, %(note)s, %(photo_id)s, %(outcome)s
WHERE %(photo_id)s::uuid IS NULL
    OR EXISTS (SELECT FROM photos WHERE photo_id = %(photo_id)s AND booking_id = %(booking_id)s AND state = 'shown')
RETURNING report_id
