-- name: due
-- What is open for a booking of this tenant, whose row stays locked.
SELECT b.booking_id, b.driver_id, b.place_id, b.tenant_id, c.charge_id, c.currency, c.amount_minor
FROM bookings b LEFT JOIN LATERAL (
    SELECT charge_id, currency, amount_minor FROM charges
    WHERE booking_id = b.booking_id AND status = 'open'
        AND NOT EXISTS (SELECT FROM payments p WHERE p.charge_id = charges.charge_id AND p.provider = 'cash')
    ORDER BY created_at, charge_id
    LIMIT 1
) AS c ON true
WHERE b.booking_id = %(booking_id)s AND b.tenant_id = %(tenant_id)s
FOR NO KEY UPDATE OF b

-- name: all_due
SELECT b.booking_id, b.plate, b.currency, coalesce(sum(c.amount_minor), 0)::bigint AS due_minor
FROM bookings b LEFT JOIN charges c ON c.booking_id = b.booking_id AND c.status = 'open'
WHERE b.booking_id = %(booking_id)s AND b.tenant_id = %(tenant_id)s
GROUP BY b.booking_id

-- name: open_checkout
SELECT p.* FROM payments p JOIN bookings b USING (booking_id)
WHERE booking_id = %(booking_id)s AND b.tenant_id = %(tenant_id)s AND p.status IN ('creating', 'open')

-- name: add_payment
INSERT INTO payments (booking_id, driver_id, charge_id, provider, currency, amount_minor, status, closes_at)
VALUES (
    %(booking_id)s, %(driver_id)s, %(charge_id)s, 'cash', %(currency)s, %(amount_minor)s, 'creating', %(now)s
)
ON CONFLICT DO NOTHING
RETURNING payment_id

-- name: take
INSERT INTO cash_takings (payment_id, lot_id, tenant_id, day, taken_by, taken_at, currency, amount_minor)
VALUES (
    %(payment_id)s, %(place_id)s, %(tenant_id)s, %(day)s, acting_person(), %(now)s, %(currency)s, %(amount_minor)s
)

-- name: set_off
-- The operator has the cash already: it comes off the next payout at once.
INSERT INTO host_earnings (tenant_id, booking_id, kind, currency, price_minor, amount_minor, due_at)
VALUES (%(tenant_id)s, %(booking_id)s, 'cash', %(currency)s, 0, -%(amount_minor)s, %(now)s)
