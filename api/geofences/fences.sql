-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended('fence:' || %(fence_id)s, 0))

-- name: latest
SELECT fence_id, version, name, kind, dwell_s, valid_from, valid_to, geometry
FROM fence_versions
WHERE fence_id = %(fence_id)s AND (%(version)s::integer IS NULL OR version = %(version)s)
ORDER BY version DESC
LIMIT 1

-- name: next_valid_from
SELECT date_trunc('milliseconds', greatest(
    clock_timestamp() + %(notice)s,
    (SELECT max(greatest(valid_from + interval '1 millisecond', valid_to))
     FROM fence_versions WHERE fence_id = %(fence_id)s)
)) AS valid_from

-- name: end
UPDATE fence_versions
SET valid_to = greatest(%(valid_to)s, valid_from + interval '1 millisecond')
WHERE fence_id = %(fence_id)s AND valid_to IS NULL
RETURNING fence_id, version, name, kind, dwell_s, valid_from, valid_to, geometry

-- name: add
INSERT INTO fence_versions (fence_id, version, name, kind, dwell_s, valid_from, valid_to, geometry)
SELECT %(fence_id)s, coalesce(max(version), 0) + 1, %(name)s, %(kind)s, %(dwell_s)s, %(valid_from)s, %(valid_to)s,
    %(geometry)s
FROM fence_versions
WHERE fence_id = %(fence_id)s
RETURNING fence_id, version, name, kind, dwell_s, valid_from, valid_to, geometry

-- name: page
SELECT DISTINCT ON (fence_id) fence_id, version, name, kind, dwell_s, valid_from, valid_to, geometry
FROM fence_versions
WHERE fence_id > %(after)s AND (valid_to IS NULL OR valid_to > clock_timestamp())
    AND (%(fence_ids)s::text[] IS NULL OR fence_id = ANY (%(fence_ids)s))
ORDER BY fence_id, version DESC
LIMIT %(limit)s

-- name: zones
SELECT DISTINCT ON (fence_id) fence_id, name
FROM fence_versions
WHERE kind = 'zone' AND valid_from < %(until)s AND (valid_to IS NULL OR valid_to > %(since)s)
    AND (%(fence_ids)s::text[] IS NULL OR fence_id = ANY (%(fence_ids)s))
ORDER BY fence_id, version DESC
LIMIT %(limit)s

-- name: zone_at
SELECT fence_id, version, name, kind, dwell_s, valid_from, valid_to, geometry
FROM fence_versions
WHERE fence_id = %(fence_id)s AND kind = 'zone' AND valid_from <= %(at)s AND (valid_to IS NULL OR valid_to > %(at)s)

-- name: known_ids
SELECT DISTINCT fence_id FROM fence_versions
