-- name: owing
SELECT booking_id FROM bookings WHERE driver_id = %(driver_id)s AND payment_status = 'balance_due' ORDER BY created_at

-- name: expire_overdue
-- now() is not allowed in the constraint's predicate: holds that ran out are ended by whoever wants the place.
WITH overdue AS (
    SELECT booking_id FROM bookings
    WHERE place_id = %(place_id)s AND status = 'HELD' AND hold_expires_at <= %(now)s
        AND during && tstzrange(%(starts_at)s, %(ends_at)s)
    ORDER BY booking_id
    FOR UPDATE SKIP LOCKED
)
UPDATE bookings SET status = 'EXPIRED', hold_expires_at = NULL, reason = 'the hold ran out'
WHERE booking_id IN (SELECT booking_id FROM overdue)
RETURNING booking_id, lower(during) AS starts_at, upper(during) AS ends_at

-- name: put
INSERT INTO bookings (
    booking_id, tenant_id, place_id, place_kind, space_id, driver_id, plate, vehicle_kind, kind, status, reason,
    currency, total_minor, pay_later, during, hold_expires_at, approval, extends, quote, policy, created_at
)
VALUES (
    %(booking_id)s, %(tenant_id)s, %(place_id)s, %(place_kind)s, %(space_id)s, %(driver_id)s, %(plate)s,
    %(vehicle_kind)s, %(kind)s, 'HELD', %(reason)s, %(currency)s, %(total_minor)s, %(pay_later)s,
    tstzrange(%(starts_at)s, %(ends_at)s), %(hold_expires_at)s, %(approval)s, %(extends)s, %(quote)s, %(policy)s, %(now)s
)
ON CONFLICT DO NOTHING
RETURNING booking_id

-- name: lock_buckets
-- In time order, before any of them is changed out of that order.
SELECT FROM lot_buckets
WHERE lot_id = %(place_id)s AND starts_at >= %(starts_at)s AND starts_at < %(ends_at)s
ORDER BY starts_at
FOR UPDATE

-- name: sell_buckets
-- Every quarter of an hour of the window, in time order; fewer rows than quarters where one is full.
INSERT INTO lot_buckets (lot_id, starts_at, capacity, used)
SELECT p.place_id, quarter, p.capacity - blocked.spaces, 1
FROM places p
CROSS JOIN generate_series(%(starts_at)s, %(ends_at)s - interval '15 minutes', interval '15 minutes') AS quarter
CROSS JOIN LATERAL (
    SELECT coalesce(sum(spaces), 0)::integer AS spaces FROM blocks
    WHERE uuidrange(place_id, place_id, '[]') && uuidrange(p.place_id, p.place_id, '[]') AND during @> quarter
) AS blocked
WHERE p.place_id = %(place_id)s AND p.capacity > blocked.spaces
ORDER BY quarter
ON CONFLICT (lot_id, starts_at) DO UPDATE SET used = lot_buckets.used + 1
    WHERE lot_buckets.used + lot_buckets.over < lot_buckets.capacity
RETURNING starts_at

-- name: free_buckets
-- What lot bookings still have from this quarter on, given back in time order.
WITH had AS (
    SELECT b.place_id AS lot_id, quarter AS starts_at, count(*)::integer AS spaces
    FROM bookings b
    CROSS JOIN generate_series(
        greatest(lower(b.during), %(since)s), upper(b.during) - interval '15 minutes', interval '15 minutes'
    ) AS quarter
    WHERE b.booking_id = ANY (%(booking_ids)s) AND b.place_kind = 'lot'
    GROUP BY 1, 2
), locked AS (
    SELECT lot_id, starts_at, spaces FROM lot_buckets JOIN had USING (lot_id, starts_at)
    ORDER BY lot_id, starts_at
    FOR UPDATE OF lot_buckets
)
UPDATE lot_buckets b SET used = used - locked.spaces
FROM locked
WHERE (b.lot_id, b.starts_at) = (locked.lot_id, locked.starts_at)

-- name: latest_end
-- Until when a single space is free from this instant on; null if for ever, the instant itself if it is not.
SELECT min(greatest(lower(during), %(starts_at)s)) AS latest_end
FROM (
    SELECT during FROM bookings
    WHERE place_id = %(place_id)s AND status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')
        AND NOT (status = 'HELD' AND hold_expires_at <= %(now)s)
    UNION ALL
    SELECT during FROM blocks WHERE place_id = %(place_id)s
) AS taken
WHERE upper(during) > %(starts_at)s

-- name: latest_quarter
-- The same of a lot: the first full quarter.
SELECT min(starts_at) AS latest_end FROM lot_buckets
WHERE lot_id = %(place_id)s AND starts_at >= %(starts_at)s AND used + over >= capacity
