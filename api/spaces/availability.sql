-- name: lots
-- Listed lots in a fence: in an odd number of its rings, which leaves out its holes. And what of each can be had now.
WITH rings AS MATERIALIZED (SELECT corners::polygon AS ring FROM unnest(%(rings)s::text[]) AS corners)
SELECT p.place_id, p.time_zone,
    (SELECT coalesce(jsonb_agg(to_jsonb(h) - 'place_id' - 'tenant_id'), '[]')
     FROM opening_hours h WHERE h.place_id = p.place_id) AS hours,
    (SELECT coalesce(sum(k.spaces), 0) FROM blocks k
     WHERE k.place_id = p.place_id AND k.during @> %(now)s::timestamptz)::integer AS blocked,
    coalesce((
        SELECT u.used + u.over FROM lot_buckets u
        WHERE u.lot_id = p.place_id AND u.starts_at = date_bin('15 minutes', %(now)s, 'epoch')
    ), 0) AS sold
FROM places p
WHERE p.kind = 'lot' AND p.state = 'listed'
    AND p.shown_lat BETWEEN %(south)s AND %(north)s AND p.shown_lon BETWEEN %(west)s AND %(east)s
    AND (SELECT mod(count(*), 2) FROM rings WHERE ring @> point(p.shown_lon, p.shown_lat)) = 1
LIMIT %(most)s
