-- name: confirm
UPDATE bookings SET status = 'RESERVED', payment_status = 'paid', hold_expires_at = NULL, reason = 'paid'
WHERE booking_id = %(booking_id)s AND status = 'HELD'
RETURNING booking_id

-- name: status
SELECT status FROM bookings WHERE booking_id = %(booking_id)s FOR NO KEY UPDATE

-- name: set_payment_status
UPDATE bookings SET payment_status = %(status)s WHERE booking_id = %(booking_id)s
