-- name: with_extensions
SELECT booking_id, status FROM bookings
WHERE (booking_id = %(booking_id)s OR extends = %(booking_id)s) AND status IN ('HELD', 'RESERVED')
ORDER BY extends NULLS FIRST, lower(during)

-- name: relocate
UPDATE bookings
SET tenant_id = %(tenant_id)s, place_id = %(place_id)s, place_kind = %(place_kind)s, space_id = %(space_id)s,
    reason = %(reason)s
WHERE booking_id = %(booking_id)s AND status = %(status)s

-- name: unreplaced_quote
SELECT quote FROM bookings b
WHERE booking_id = %(booking_id)s AND NOT EXISTS (SELECT FROM bookings r WHERE r.replaces = b.booking_id)

-- name: replaces
UPDATE bookings SET replaces = %(replaces)s WHERE booking_id = %(booking_id)s

-- name: paid
UPDATE bookings SET payment_status = 'paid', pay_later = false WHERE booking_id = %(booking_id)s
