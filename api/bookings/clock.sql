-- name: overdue_holds
-- Those with an open checkout are released by payments, which first close it at the provider.
SELECT booking_id FROM bookings
WHERE status = 'HELD' AND hold_expires_at <= %(now)s AND payment_status <> 'pending'
ORDER BY hold_expires_at
LIMIT %(most)s

-- name: perhaps_no_shows
SELECT booking_id FROM bookings
WHERE status = 'RESERVED' AND extends IS NULL
    AND (upper(during) <= %(now)s
        OR (lower(during) <= %(now)s - interval '15 minutes'
            AND (pay_later OR policy ->> 'no_show_after_s' IS NOT NULL)))
ORDER BY upper(during)
LIMIT %(most)s

-- name: perhaps_late
SELECT booking_id FROM bookings
WHERE status IN ('ACTIVE', 'OVERSTAY') AND extends IS NULL AND upper(during) <= %(now)s
ORDER BY upper(during)
LIMIT %(most)s

-- name: perhaps_ending
SELECT booking_id FROM bookings
WHERE status = 'ACTIVE' AND extends IS NULL AND reminded_at IS NULL AND upper(during) <= %(soon)s
ORDER BY upper(during)
LIMIT %(most)s

-- name: successor
-- Who has the space next, if that is soon.
SELECT booking_id FROM bookings
WHERE place_id = %(place_id)s AND place_kind = 'space' AND status = 'RESERVED' AND extends IS NULL
    AND lower(during) >= %(ended_at)s AND lower(during) <= %(soon)s
ORDER BY lower(during)
LIMIT 1

-- name: reminded
UPDATE bookings SET reminded_at = %(now)s WHERE booking_id = %(booking_id)s

-- name: clean_codes
DELETE FROM used_codes WHERE used_at < %(now)s - interval '2 days'
