-- name: lock
-- A booking and its extensions change one at a time, under the lock of the stay's own row.
SELECT booking_id FROM bookings
WHERE booking_id = coalesce((SELECT extends FROM bookings WHERE booking_id = %(booking_id)s), %(booking_id)s)
FOR NO KEY UPDATE

-- name: booking
SELECT b.booking_id, b.tenant_id, b.place_id, b.place_kind, b.space_id, b.driver_id, b.plate, b.vehicle_kind, b.kind,
    b.status, b.payment_status, b.currency, b.total_minor, b.pay_later, lower(b.during) AS starts_at,
    upper(b.during) AS ends_at, coalesce(more.ends_at, upper(b.during)) AS stay_ends_at,
    coalesce(more.total_minor, 0)::bigint AS extension_minor, coalesce(more.held, false) AS extension_held,
    b.hold_expires_at, b.approval, b.extends, b.pass_id, b.policy, b.checked_in_at, b.validated_at, b.late_until,
    p.name AS place_name, p.time_zone, t.rules
FROM bookings b
JOIN places p USING (place_id)
JOIN tariffs t ON t.tariff_id = coalesce((b.quote ->> 'tariff_id')::uuid, p.tariff_id)
CROSS JOIN LATERAL (
    SELECT max(upper(during)) FILTER (WHERE status <> 'HELD') AS ends_at,
        sum(total_minor) FILTER (WHERE status <> 'HELD') AS total_minor, bool_or(status = 'HELD') AS held
    FROM bookings x
    WHERE x.extends = b.booking_id
        AND (x.status IN ('RESERVED', 'FULFILLED') OR (x.status = 'HELD' AND x.hold_expires_at > %(now)s))
) AS more
WHERE b.booking_id = %(booking_id)s

-- name: move
-- The compare-and-swap of every transition.
UPDATE bookings
SET status = %(to_status)s, reason = %(reason)s, hold_expires_at = NULL,
    checked_in_at = CASE WHEN %(to_status)s = 'ACTIVE' THEN %(now)s ELSE checked_in_at END,
    checked_out_at = CASE WHEN %(to_status)s = 'FULFILLED' THEN %(now)s ELSE checked_out_at END
WHERE booking_id = %(booking_id)s AND status = %(from_status)s
RETURNING booking_id

-- name: extensions
SELECT booking_id, status, total_minor, lower(during) AS starts_at
FROM bookings
WHERE extends = %(booking_id)s AND status IN ('HELD', 'RESERVED')
ORDER BY lower(during)

-- name: put_in_space
UPDATE bookings SET space_id = %(space_id)s WHERE booking_id = %(booking_id)s

-- name: grow
UPDATE bookings SET during = tstzrange(%(starts_at)s, upper(during)) WHERE booking_id = %(booking_id)s

-- name: keep_rest
-- The rest of a pass's window is its holder's: quarters of a lot pass over to the new booking as they are sold.
INSERT INTO bookings (
    booking_id, tenant_id, place_id, place_kind, space_id, driver_id, plate, vehicle_kind, kind, status, reason,
    currency, total_minor, during, quote, policy, pass_id, created_at
)
SELECT gen_random_uuid(), b.tenant_id, b.place_id, b.place_kind, CASE b.place_kind WHEN 'space' THEN b.space_id END,
    b.driver_id, b.plate, b.vehicle_kind, 'booking', 'RESERVED', 'the rest of a pass', b.currency, 0,
    tstzrange(%(since)s, upper(b.during)), b.quote, b.policy, b.pass_id, %(now)s
FROM bookings b JOIN passes s USING (pass_id)
WHERE b.booking_id = %(booking_id)s AND s.ended_at IS NULL
RETURNING booking_id

-- name: follows_on
-- The booking of a pass that begins where this one ends, of the same vehicle on the same place.
SELECT f.booking_id
FROM bookings b JOIN bookings f ON f.place_id = b.place_id AND f.driver_id = b.driver_id AND f.plate = b.plate
WHERE b.booking_id = %(booking_id)s AND b.pass_id IS NOT NULL AND f.pass_id IS NOT NULL AND f.status = 'RESERVED'
    AND lower(f.during) = %(ends_at)s

-- name: free_bay
SELECT space_id FROM bays y
WHERE lot_id = %(place_id)s AND retired_at IS NULL
    AND NOT EXISTS (
        SELECT FROM bookings b WHERE b.space_id = y.space_id AND b.status IN ('ACTIVE', 'OVERSTAY') AND b.extends IS NULL
    )
ORDER BY name
LIMIT 1
FOR UPDATE SKIP LOCKED

-- name: set_overstay
UPDATE bookings SET overstay_minor = %(overstay_minor)s, flagged = flagged OR %(flagged)s WHERE booking_id = %(booking_id)s

-- name: approve
UPDATE bookings SET approval = 'given', hold_expires_at = %(hold_expires_at)s
WHERE booking_id = %(booking_id)s AND status = 'HELD' AND approval = 'asked'
RETURNING booking_id

-- name: count_late
-- The spaces of a lot on which somebody stands who should have left, quarter by quarter.
INSERT INTO lot_buckets (lot_id, starts_at, capacity, over)
SELECT %(place_id)s, quarter, p.capacity, 1
FROM places p
CROSS JOIN generate_series(%(since)s, %(until)s - interval '15 minutes', interval '15 minutes') AS quarter
WHERE p.place_id = %(place_id)s
ORDER BY quarter
ON CONFLICT (lot_id, starts_at) DO UPDATE SET over = lot_buckets.over + 1

-- name: set_late
UPDATE bookings SET late_until = %(until)s WHERE booking_id = %(booking_id)s

-- name: uncount_late
UPDATE lot_buckets SET over = over - 1
WHERE lot_id = %(place_id)s AND starts_at >= %(since)s AND starts_at < %(until)s

-- name: recipient
SELECT email, phone, locale, name FROM people WHERE person_id = %(person_id)s AND erased_at IS NULL

-- name: owners
SELECT email, phone, locale, people.name
FROM memberships JOIN people USING (person_id)
WHERE tenant_id = %(tenant_id)s AND role IN ('host', 'operator_admin') AND erased_at IS NULL
