-- name: tenant_of_place
SELECT tenant_id FROM places WHERE place_id = %(place_id)s

-- name: add
-- The last of its place or booking; the constraint refuses one too many.
INSERT INTO photos (photo_id, tenant_id, place_id, booking_id, added_by, position, width_px, height_px, size_bytes)
SELECT %(photo_id)s, %(tenant_id)s, %(place_id)s, %(booking_id)s, acting_person(), coalesce(max(position), 0) + 1,
    %(width_px)s, %(height_px)s, %(size_bytes)s
FROM photos
WHERE place_id = %(place_id)s OR booking_id = %(booking_id)s

-- name: show
UPDATE photos SET state = 'shown', changed_at = clock_timestamp()
WHERE photo_id = %(photo_id)s AND state = 'coming'
RETURNING photo_id, position, width_px, height_px, added_at

-- name: shown
SELECT photo_id, place_id, booking_id, position, width_px, height_px, added_at
FROM photos
WHERE (place_id = ANY (%(ids)s) OR booking_id = ANY (%(ids)s)) AND state = 'shown'
ORDER BY coalesce(place_id, booking_id), position

-- name: order
-- All of a place's at once: whoever leaves one out, or names another's, orders fewer than there are.
UPDATE photos SET position = wanted.position
FROM unnest(%(photo_ids)s::uuid[]) WITH ORDINALITY AS wanted (photo_id, position)
WHERE photos.photo_id = wanted.photo_id AND place_id = %(place_id)s AND state = 'shown'
    AND (SELECT count(*) FROM photos WHERE place_id = %(place_id)s AND position IS NOT NULL)
        = cardinality(%(photo_ids)s::uuid[])
RETURNING photos.photo_id

-- name: drop
UPDATE photos SET state = 'going', position = NULL, changed_at = clock_timestamp()
WHERE photo_id = %(photo_id)s AND place_id = %(place_id)s AND state <> 'going'
RETURNING photo_id

-- name: close_gaps
UPDATE photos SET position = kept.position
FROM (
    SELECT photo_id, row_number() OVER (ORDER BY position) AS position
    FROM photos WHERE place_id = %(place_id)s AND position IS NOT NULL
) AS kept
WHERE photos.photo_id = kept.photo_id AND photos.position <> kept.position

-- name: drop_all
UPDATE photos SET state = 'going', position = NULL, changed_at = clock_timestamp()
WHERE place_id = %(place_id)s AND state <> 'going'

-- name: unsettled
-- Those on their way out, and those whose upload nobody ended.
UPDATE photos SET state = 'going', position = NULL
WHERE photo_id IN (
    SELECT photo_id FROM photos
    WHERE state = 'going' OR (state = 'coming' AND changed_at < clock_timestamp() - %(coming_for)s)
    ORDER BY changed_at
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
)
RETURNING photo_id

-- name: forget
DELETE FROM photos WHERE photo_id = %(photo_id)s AND state = 'going'
