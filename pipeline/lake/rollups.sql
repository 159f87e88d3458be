-- What roll-ups count, from the views positions, geofence_events, park_events and trips that hold the days asked for.
-- A place is a cell of resolution 7, 8 or 9, or a zone (then resolution and cell are 0). Bins lie on a fixed grid in
-- UTC, weeks begin on Monday. Of one device at most $most_of_one contributions count in a bin, its first.

-- name: grid
CREATE OR REPLACE TEMP TABLE grid AS
SELECT * FROM (
    VALUES (900, 0, NULL), (3600, 0, 900), (14400, 0, 3600), (86400, 0, 14400), (604800, 345600, 86400)
) AS width (bin_s, shift_s, narrower_s)

-- name: resolutions
CREATE OR REPLACE TEMP TABLE resolutions AS SELECT * FROM (VALUES (7), (8), (9)) AS cells (resolution)

-- name: presences
-- A presence is a device in a cell in a slot of 5 min. Slots of different quarters differ, so presences add up over time.
CREATE OR REPLACE TEMP TABLE presences AS
WITH seen AS (
    SELECT device_id, h3_r9, epoch_ms(event_time) // 300000 AS slot, count(*) AS fixes, count(*) FILTER (late) AS late
    FROM positions WHERE h3_r9 IS NOT NULL GROUP BY ALL
),
quarters AS (
    SELECT
        resolution, h3_parent(h3_r9, resolution) AS cell, device_id, slot // 3 * 900 AS at_s,
        count(DISTINCT slot) AS presences, sum(fixes) AS fixes, sum(late) AS late
    FROM seen CROSS JOIN resolutions GROUP BY ALL
),
of_device AS (
    SELECT
        resolution, cell, bin_s, (at_s - shift_s) // bin_s * bin_s + shift_s AS bin_start_s, device_id,
        least(sum(presences), $most_of_one) AS presences, sum(fixes) AS fixes, sum(late) AS late
    FROM quarters CROSS JOIN grid GROUP BY ALL
)
SELECT
    resolution, cell, '' AS zone_id, bin_s, bin_start_s,
    count(*) AS devices, sum(presences) AS presences, sum(fixes) AS fixes, sum(late) AS late_fixes
FROM of_device GROUP BY ALL

-- name: visits
CREATE OR REPLACE TEMP TABLE visits AS
WITH kept AS (
    SELECT
        fence_id, device_id, kind = 'enter' AS is_entry, CASE kind WHEN 'exit' THEN dwell_s END AS dwell_s,
        bin_s, (epoch_ms(event_time) // 1000 - shift_s) // bin_s * bin_s + shift_s AS bin_start_s
    FROM geofence_events CROSS JOIN grid
    WHERE kind IN ('enter', 'exit', 'exit_inferred')
    QUALIFY row_number() OVER (
        PARTITION BY fence_id, device_id, is_entry, bin_s, bin_start_s ORDER BY event_time, event_id
    ) <= $most_of_one
)
SELECT
    0 AS resolution, 0::BIGINT AS cell, fence_id AS zone_id, bin_s, bin_start_s,
    count(DISTINCT device_id) FILTER (is_entry) AS entry_devices,
    count(*) FILTER (is_entry) AS entries,
    count(DISTINCT device_id) FILTER (NOT is_entry) AS exit_devices,
    count(*) FILTER (NOT is_entry) AS exits,
    count(DISTINCT device_id) FILTER (dwell_s IS NOT NULL) AS dwell_devices,
    count(dwell_s) AS dwells,
    sum(dwell_s) AS dwell_total_s,
    median(dwell_s) AS dwell_median_s
FROM kept GROUP BY ALL

-- name: parks
CREATE OR REPLACE TEMP TABLE parks AS
WITH placed AS (
    SELECT resolution, h3_parent(h3_r9, resolution) AS cell, '' AS zone_id, kind, event_time
    FROM park_events CROSS JOIN resolutions WHERE h3_r9 IS NOT NULL
    UNION ALL
    SELECT 0, 0, zone_id, kind, event_time FROM park_events WHERE zone_id IS NOT NULL
)
SELECT
    resolution, cell, zone_id, bin_s,
    (epoch_ms(event_time) // 1000 - shift_s) // bin_s * bin_s + shift_s AS bin_start_s,
    count(*) FILTER (kind = 'park_start') AS park_starts,
    count(*) FILTER (kind = 'park_end') AS park_ends
FROM placed CROSS JOIN grid GROUP BY ALL

-- name: drives
-- Who was only picked up searched for no place. geo.survival says what an end is and what a class; here it is in SQL.
CREATE OR REPLACE TEMP TABLE drives AS
WITH population AS (
    SELECT *, outcome = 'parked' OR search_s = 0 AS is_end, least(floor(search_s / $class_s) + 1, $beyond) AS class
    FROM trips WHERE outcome <> 'picked_up'
),
placed AS (
    SELECT population.*, resolution, h3_parent(h3_r9, resolution) AS cell, '' AS place_zone
    FROM population CROSS JOIN resolutions WHERE h3_r9 IS NOT NULL
    UNION ALL
    SELECT population.*, 0, 0, zone_id FROM population WHERE zone_id IS NOT NULL
),
kept AS (
    SELECT
        resolution, cell, place_zone, device_id, search_s, outcome, quality, is_end,
        CASE WHEN search_s = 0 THEN 0 WHEN is_end AND class < $beyond THEN class ELSE -class END AS signed_class,
        bin_s, (epoch_ms(trip_end) // 1000 - shift_s) // bin_s * bin_s + shift_s AS bin_start_s
    FROM placed CROSS JOIN grid
    QUALIFY row_number() OVER (
        PARTITION BY resolution, cell, place_zone, device_id, bin_s, bin_start_s ORDER BY trip_end, trip_id
    ) <= $most_of_one
)
SELECT
    resolution, cell, place_zone AS zone_id, bin_s, bin_start_s,
    count(DISTINCT device_id) AS drive_devices,
    count(*) AS drives,
    list(signed_class::SMALLINT ORDER BY search_s, is_end DESC) AS search_classes,
    count(DISTINCT device_id) FILTER (search_s >= $searcher_s) AS searcher_devices,
    count(*) FILTER (search_s >= $searcher_s) AS searchers,
    count(*) FILTER (search_s >= $searcher_s AND outcome = 'parked') AS searchers_parked,
    count(*) FILTER (search_s >= $searcher_s AND outcome = 'gave_up') AS searchers_gave_up,
    count(*) FILTER (quality = 'low') AS low_quality
FROM kept GROUP BY ALL

-- name: bins
CREATE OR REPLACE TEMP TABLE bins AS
WITH counted AS (
    FROM presences UNION ALL BY NAME FROM visits UNION ALL BY NAME FROM parks UNION ALL BY NAME FROM drives
)
SELECT
    resolution, cell, zone_id, bin_s, bin_start_s,
    coalesce(any_value(COLUMNS(* EXCLUDE (
        resolution, cell, zone_id, bin_s, bin_start_s, dwell_total_s, dwell_median_s, search_classes
    ))), 0)::BIGINT,
    coalesce(any_value(dwell_total_s), 0) AS dwell_total_s,
    any_value(dwell_median_s) AS dwell_median_s,
    coalesce(any_value(search_classes), []) AS search_classes,
    coalesce(any_value(devices) >= $k_devices AND any_value(presences) >= $k_contributions, false) AS presences_pass,
    coalesce(any_value(entry_devices) >= $k_devices AND any_value(entries) >= $k_contributions, false) AS entries_pass,
    coalesce(any_value(exit_devices) >= $k_devices AND any_value(exits) >= $k_contributions, false) AS exits_pass,
    coalesce(any_value(drive_devices) >= $k_devices AND any_value(drives) >= $k_contributions, false) AS drives_pass
FROM counted GROUP BY resolution, cell, zone_id, bin_s, bin_start_s

-- name: rollup
-- A bin is published if it passes k and nothing narrower within it does. What passes makes all that holds it pass, so it
-- is enough to look at the next narrower bins.
CREATE OR REPLACE TEMP TABLE rollup AS
WITH narrower AS (
    SELECT
        resolution, cell, zone_id, grid.bin_s, (bin_start_s - shift_s) // grid.bin_s * grid.bin_s + shift_s AS bin_start_s,
        bool_or(presences_pass) AS presences_pass, bool_or(entries_pass) AS entries_pass,
        bool_or(exits_pass) AS exits_pass, bool_or(drives_pass) AS drives_pass
    FROM bins JOIN grid ON grid.narrower_s = bins.bin_s GROUP BY ALL
),
quarters AS (
    SELECT
        resolution, cell, zone_id, grid.bin_s, (bin_start_s - shift_s) // grid.bin_s * grid.bin_s + shift_s AS bin_start_s,
        count(*) FILTER (presences > 0) AS presence_quarters, count(*) FILTER (entries > 0) AS entry_quarters,
        count(*) FILTER (exits > 0) AS exit_quarters, count(*) FILTER (drives > 0) AS drive_quarters
    FROM bins CROSS JOIN grid WHERE bins.bin_s = 900 AND grid.bin_s > 900 GROUP BY ALL
)
SELECT
    bins.* EXCLUDE (presences_pass, entries_pass, exits_pass, drives_pass),
    make_timestamp(bin_start_s * 1000000) AS bin_start,
    quarters.presence_quarters, quarters.entry_quarters, quarters.exit_quarters, quarters.drive_quarters,
    bins.presences_pass AND NOT coalesce(narrower.presences_pass, false) AS publish_presences,
    bins.entries_pass AND NOT coalesce(narrower.entries_pass, false) AS publish_entries,
    bins.exits_pass AND NOT coalesce(narrower.exits_pass, false) AS publish_exits,
    bins.drives_pass AND NOT coalesce(narrower.drives_pass, false) AS publish_drives
FROM bins
LEFT JOIN narrower USING (resolution, cell, zone_id, bin_s, bin_start_s)
LEFT JOIN quarters USING (resolution, cell, zone_id, bin_s, bin_start_s)
