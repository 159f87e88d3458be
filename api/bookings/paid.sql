-- name: set_payment_status
UPDATE bookings SET payment_status = %(status)s WHERE booking_id = %(booking_id)s
