-- name: captured
UPDATE bookings SET payment_status = 'paid', pay_later = false WHERE booking_id = %(booking_id)s

-- name: set_payment_status
UPDATE bookings SET payment_status = %(status)s WHERE booking_id = %(booking_id)s
