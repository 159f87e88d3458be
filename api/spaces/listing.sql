-- name: own_host
SELECT tenant_id FROM memberships WHERE person_id = acting_person() AND role = 'host' ORDER BY granted_at LIMIT 1

-- name: add_host
INSERT INTO tenants (tenant_id, kind, name)
VALUES (%(tenant_id)s, 'host', (SELECT coalesce(nullif(name, ''), 'Host') FROM people WHERE person_id = acting_person()))

-- name: join_host
INSERT INTO memberships (tenant_id, person_id, role, tenant_kind)
VALUES (%(tenant_id)s, acting_person(), 'host', 'host')

-- name: kind_of_tenant
SELECT kind FROM tenants WHERE tenant_id = acting_tenant()

-- name: add_tariff
INSERT INTO tariffs (tariff_id, tenant_id, name, currency, rules)
VALUES (%(tariff_id)s, acting_tenant(), %(name)s, %(currency)s, %(rules)s)

-- name: add
INSERT INTO places (
    place_id, tenant_id, kind, name, description, address, access_note, lat, lon, shown_lat, shown_lon, time_zone,
    vehicle_kinds, length_cm, width_cm, height_cm, amenities, capacity, tariff_id, policy, by_approval, buffer,
    lead_time, min_stay, state
)
VALUES (
    %(place_id)s, acting_tenant(), %(kind)s, %(name)s, %(description)s, %(address)s, %(access_note)s, %(lat)s, %(lon)s,
    %(shown_lat)s, %(shown_lon)s, %(time_zone)s, %(vehicle_kinds)s, %(length_cm)s, %(width_cm)s, %(height_cm)s,
    %(amenities)s, %(capacity)s, %(tariff_id)s, %(policy)s, %(by_approval)s, %(buffer)s, %(lead_time)s, %(min_stay)s,
    %(state)s
)

-- name: cards
-- The place itself first, then its spaces by name.
SELECT place_id AS space_id, NULL AS name FROM places
WHERE place_id = %(place_id)s AND tenant_id = acting_tenant() AND %(after)s = ''
UNION ALL
(
    SELECT space_id, name FROM bays
    WHERE lot_id = %(place_id)s AND tenant_id = acting_tenant() AND retired_at IS NULL AND name > %(after)s
    ORDER BY name
    LIMIT %(most)s
)

-- name: name_of
SELECT name FROM places WHERE place_id = %(place_id)s AND tenant_id = acting_tenant()

-- name: lock
SELECT kind, lat, lon, shown_lat, shown_lon FROM places
WHERE place_id = %(place_id)s AND tenant_id = acting_tenant()
FOR UPDATE

-- name: change
UPDATE places
SET name = %(name)s, description = %(description)s, address = %(address)s, access_note = %(access_note)s,
    lat = %(lat)s, lon = %(lon)s, shown_lat = %(shown_lat)s, shown_lon = %(shown_lon)s, time_zone = %(time_zone)s,
    vehicle_kinds = %(vehicle_kinds)s, length_cm = %(length_cm)s, width_cm = %(width_cm)s, height_cm = %(height_cm)s,
    amenities = %(amenities)s, capacity = %(capacity)s, tariff_id = %(tariff_id)s, policy = %(policy)s,
    by_approval = %(by_approval)s, buffer = %(buffer)s, lead_time = %(lead_time)s, min_stay = %(min_stay)s,
    state = %(state)s
WHERE place_id = %(place_id)s

-- name: delete_hours
DELETE FROM opening_hours WHERE place_id = %(place_id)s

-- name: add_hours
INSERT INTO opening_hours (place_id, tenant_id, weekday, opens_min, closes_min)
SELECT %(place_id)s, acting_tenant(), weekday, opens_min, closes_min
FROM unnest(%(weekdays)s::smallint[], %(opens)s::smallint[], %(closes)s::smallint[]) AS h (weekday, opens_min, closes_min)

-- name: add_bays
INSERT INTO bays (lot_id, tenant_id, name)
SELECT %(place_id)s, acting_tenant(), name FROM unnest(%(names)s::text[]) AS name
ON CONFLICT (lot_id, name) DO UPDATE SET retired_at = NULL

-- name: retire_bays
UPDATE bays SET retired_at = clock_timestamp()
WHERE lot_id = %(place_id)s AND retired_at IS NULL AND NOT name = ANY (%(names)s)

-- name: set_capacity
-- Of the quarters that have bookings; the constraint refuses to go below what is sold.
UPDATE lot_buckets b
SET capacity = greatest(0, p.capacity - (
    SELECT coalesce(sum(spaces), 0) FROM blocks k WHERE k.place_id = p.place_id AND k.during @> b.starts_at
))
FROM places p
WHERE p.place_id = %(place_id)s AND b.lot_id = p.place_id AND b.starts_at >= %(now)s - interval '15 minutes'

-- name: live
SELECT booking_id, lower(during) AS starts_at, upper(during) AS ends_at
FROM bookings
WHERE place_id = %(place_id)s AND status IN ('HELD', 'RESERVED', 'ACTIVE') AND upper(during) > %(now)s
    AND NOT (status = 'HELD' AND hold_expires_at <= %(now)s)
    AND during && tstzrange(%(starts_at)s, %(ends_at)s)
ORDER BY lower(during), booking_id

-- name: blocks
SELECT block_id, place_id, lower(during) AS starts_at, upper(during) AS ends_at, spaces, reason
FROM blocks
WHERE tenant_id = acting_tenant() AND upper(during) > %(now)s
ORDER BY lower(during), block_id

-- name: add_block
INSERT INTO blocks (block_id, place_id, tenant_id, during, spaces, reason)
VALUES (
    %(block_id)s, %(place_id)s, acting_tenant(), tstzrange(%(starts_at)s, %(ends_at)s), %(spaces)s, %(reason)s
)

-- name: delete_block
DELETE FROM blocks WHERE block_id = %(block_id)s AND tenant_id = acting_tenant()
RETURNING place_id

-- name: audit
INSERT INTO audit_entries (actor, tenant_id, action, details)
VALUES (acting_person(), acting_tenant(), %(action)s, %(details)s)

-- name: own
SELECT p.*, t.rules,
    (SELECT coalesce(jsonb_agg(to_jsonb(h) - 'place_id' - 'tenant_id' ORDER BY weekday, opens_min), '[]')
     FROM opening_hours h WHERE h.place_id = p.place_id) AS hours,
    ARRAY(SELECT name FROM bays y WHERE y.lot_id = p.place_id AND retired_at IS NULL ORDER BY name) AS bays
FROM places p JOIN tariffs t USING (tariff_id)
WHERE p.tenant_id = acting_tenant() AND (%(place_id)s::uuid IS NULL OR p.place_id = %(place_id)s)
    AND (%(kind)s::text IS NULL OR p.kind = %(kind)s)
ORDER BY p.name, p.place_id
