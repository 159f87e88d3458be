-- name: candidates
-- Listed places that could take the vehicle for all of the window, nearest first. Only what anybody may know leaves.
SELECT p.place_id, p.kind, p.name, p.description, p.shown_lat AS lat, p.shown_lon AS lon, p.vehicle_kinds, p.length_cm,
    p.width_cm, p.height_cm, p.amenities, p.capacity, p.by_approval,
    metres_between(p.shown_lat, p.shown_lon, %(lat)s, %(lon)s) AS distance_m
FROM places p
WHERE p.state = 'listed'
    AND p.shown_lat BETWEEN %(lat)s - %(radius_deg)s AND %(lat)s + %(radius_deg)s
    AND p.shown_lon BETWEEN %(lon)s - %(radius_lon_deg)s AND %(lon)s + %(radius_lon_deg)s
    AND metres_between(p.shown_lat, p.shown_lon, %(lat)s, %(lon)s) <= %(radius_m)s
    AND %(vehicle_kind)s = ANY (p.vehicle_kinds) AND p.amenities @> %(amenities)s
    AND coalesce(p.length_cm >= %(length_cm)s, true)
    AND coalesce(p.width_cm >= %(width_cm)s, true)
    AND coalesce(p.height_cm >= %(height_cm)s, true)
    AND CASE p.kind
        WHEN 'space' THEN NOT EXISTS (
            SELECT FROM bookings b
            WHERE b.place_id = p.place_id AND b.status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')
                AND NOT (b.status = 'HELD' AND b.hold_expires_at <= %(now)s)
                AND b.during && tstzrange(%(starts_at)s - p.buffer, %(ends_at)s + p.buffer)
        ) AND NOT EXISTS (
            SELECT FROM blocks k WHERE k.place_id = p.place_id AND k.during && tstzrange(%(starts_at)s, %(ends_at)s)
        )
        ELSE p.capacity > 0 AND NOT EXISTS (
            SELECT FROM lot_buckets u
            WHERE u.lot_id = p.place_id AND u.starts_at >= %(starts_at)s AND u.starts_at < %(ends_at)s
                AND u.used + u.over >= u.capacity
        ) AND NOT EXISTS (
            SELECT FROM blocks k
            WHERE k.place_id = p.place_id AND k.during && tstzrange(%(starts_at)s, %(ends_at)s)
                AND k.spaces >= p.capacity
        )
    END
ORDER BY distance_m, p.place_id
LIMIT %(most)s

-- name: one
SELECT p.place_id, p.kind, p.name, p.description, p.shown_lat AS lat, p.shown_lon AS lon, p.vehicle_kinds, p.length_cm,
    p.width_cm, p.height_cm, p.amenities, p.capacity, p.by_approval, NULL::double precision AS distance_m
FROM places p
WHERE p.place_id = %(place_id)s

-- name: printed
-- The space of a printed code: a place itself, or a space of a lot.
SELECT %(space_id)s::uuid AS space_id, p.place_id, p.kind, p.name, y.name AS bay
FROM places p LEFT JOIN bays y ON y.lot_id = p.place_id AND y.space_id = %(space_id)s AND y.retired_at IS NULL
WHERE p.state = 'listed' AND (p.place_id = %(space_id)s OR y.space_id IS NOT NULL)

-- name: stars
SELECT avg(stars)::double precision AS stars, count(*) AS reviews
FROM reviews
WHERE place_id = %(place_id)s AND author = 'driver' AND hidden_at IS NULL

-- name: tariffs_near
SELECT t.rules, p.time_zone
FROM places p JOIN tariffs t USING (tariff_id)
WHERE p.state = 'listed' AND t.currency = %(currency)s AND %(vehicle_kind)s = ANY (p.vehicle_kinds)
    AND p.shown_lat BETWEEN %(lat)s - 0.02 AND %(lat)s + 0.02
    AND metres_between(p.shown_lat, p.shown_lon, %(lat)s, %(lon)s) <= %(radius_m)s
ORDER BY metres_between(p.shown_lat, p.shown_lon, %(lat)s, %(lon)s)
LIMIT 200
