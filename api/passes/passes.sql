-- name: holder
-- Whoever has an account with this contact.
SELECT person_id FROM people WHERE (email = %(contact)s OR phone = %(contact)s) AND erased_at IS NULL

-- name: add
INSERT INTO passes (
    pass_id, tenant_id, place_id, driver_id, plate, vehicle_kind, month, hours, currency, price_minor, issued_by, issued_at
)
VALUES (
    %(pass_id)s, %(tenant_id)s, %(place_id)s, %(driver_id)s, %(plate)s, %(vehicle_kind)s, %(month)s, %(hours)s,
    %(currency)s, %(price_minor)s, acting_person(), %(now)s
)

-- name: put_in
UPDATE bookings SET pass_id = %(pass_id)s WHERE booking_id = %(booking_id)s

-- name: lock
SELECT * FROM passes WHERE pass_id = %(pass_id)s AND tenant_id = %(tenant_id)s FOR UPDATE

-- name: end
UPDATE passes SET ended_at = %(now)s, end_reason = %(reason)s WHERE pass_id = %(pass_id)s

-- name: to_come
SELECT booking_id FROM bookings WHERE pass_id = %(pass_id)s AND status IN ('HELD', 'RESERVED') ORDER BY lower(during)

-- name: waive
-- What nobody has begun to pay is not asked for any more.
UPDATE charges c SET status = 'waived'
FROM bookings b
WHERE b.booking_id = c.booking_id AND b.pass_id = %(pass_id)s AND b.extends IS NULL AND c.kind = 'stay'
    AND c.status = 'open'
    AND NOT EXISTS (SELECT FROM payments p WHERE p.charge_id = c.charge_id AND p.status IN ('creating', 'open', 'paid'))
RETURNING c.booking_id

-- name: listed
SELECT s.*, p.name AS place_name,
    (SELECT count(*) FROM bookings b WHERE b.pass_id = s.pass_id AND b.status IN ('RESERVED', 'ACTIVE', 'OVERSTAY'))
        ::integer AS to_come,
    (SELECT booking_id FROM bookings b JOIN charges c USING (booking_id)
     WHERE b.pass_id = s.pass_id AND c.status = 'open' ORDER BY c.created_at LIMIT 1) AS owing
FROM passes s JOIN places p USING (place_id)
WHERE (%(tenant_id)s::uuid IS NULL OR s.tenant_id = %(tenant_id)s)
    AND (%(driver_id)s::uuid IS NULL OR s.driver_id = %(driver_id)s)
    AND (%(pass_id)s::uuid IS NULL OR s.pass_id = %(pass_id)s)
    AND (%(month)s::date IS NULL OR s.month = %(month)s)
ORDER BY s.month DESC, s.issued_at DESC, s.pass_id
LIMIT 500
