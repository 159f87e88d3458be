-- name: share
-- Whoever sells holds this, whoever changes hours, blocks or capacity waits for it: what is read next stays true.
SELECT FROM places WHERE place_id = %(place_id)s FOR SHARE

-- name: alone
-- One sale at a time: a pause between stays is no matter of a constraint.
SELECT pg_advisory_xact_lock(hashtextextended('pause:' || %(place_id)s::uuid, 0))

-- name: place
SELECT p.place_id, p.tenant_id, p.kind, p.name, p.time_zone, p.vehicle_kinds, p.length_cm, p.width_cm, p.height_cm,
    p.capacity, p.tariff_id, t.rules, p.policy, p.by_approval, p.buffer, p.lead_time, p.min_stay, p.state,
    (SELECT coalesce(jsonb_agg(to_jsonb(h) - 'place_id' - 'tenant_id'), '[]')
     FROM opening_hours h WHERE h.place_id = p.place_id) AS hours
FROM places p JOIN tariffs t USING (tariff_id)
WHERE p.place_id = %(place_id)s

-- name: obstacles
-- How many spaces of the place are blocked, and how many live bookings come closer than the pause between stays.
SELECT
    (SELECT coalesce(sum(spaces), 0) FROM blocks
     WHERE uuidrange(place_id, place_id, '[]') && uuidrange(%(place_id)s, %(place_id)s, '[]')
        AND during && tstzrange(%(starts_at)s, %(ends_at)s)) AS blocked,
    (SELECT count(*) FROM bookings
     WHERE place_id = %(place_id)s AND %(buffer)s > interval '0'
        AND status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')
        AND NOT (status = 'HELD' AND hold_expires_at <= %(now)s)
        AND (%(extends)s::uuid IS NULL OR coalesce(extends, booking_id) <> %(extends)s)
        AND during && tstzrange(%(starts_at)s - %(buffer)s, %(ends_at)s + %(buffer)s)) AS too_close

-- name: near
-- Places that could take a vehicle instead of this one: nearest first.
SELECT o.place_id
FROM places p JOIN places o ON o.place_id <> p.place_id
    AND o.state = 'listed' AND NOT o.by_approval
    AND o.shown_lat BETWEEN p.lat - 0.01 AND p.lat + 0.01
    AND o.shown_lon BETWEEN p.lon - 0.02 AND p.lon + 0.02
    AND %(vehicle_kind)s = ANY (o.vehicle_kinds) AND o.amenities @> p.amenities
    AND coalesce(o.height_cm, 1000) >= coalesce(p.height_cm, 1000)
    AND coalesce(o.length_cm, 2000) >= coalesce(p.length_cm, 2000)
    AND coalesce(o.width_cm, 1000) >= coalesce(p.width_cm, 1000)
    AND (o.kind = 'lot' OR NOT EXISTS (
        SELECT FROM bookings b
        WHERE b.place_id = o.place_id AND b.status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')
            AND NOT (b.status = 'HELD' AND b.hold_expires_at <= %(now)s)
            AND (b.during && tstzrange(%(starts_at)s, %(ends_at)s) OR b.status = 'OVERSTAY')
    ))
JOIN tariffs t ON t.tariff_id = o.tariff_id AND t.currency = %(currency)s
WHERE p.place_id = %(place_id)s AND metres_between(p.lat, p.lon, o.lat, o.lon) <= %(within_m)s
ORDER BY metres_between(p.lat, p.lon, o.lat, o.lon), o.place_id
LIMIT %(most)s
