-- Bins of a statistic within a period, from roll-ups: what is published, and how many quarters of an hour with data are in
-- none of it. `place`, `devices` and `contributions` mean what the statistic says; `publish` was decided with the bin.
-- $quarters and $wide are the files of the days asked for: of their views, which open all days, there is no need.

-- name: cells
-- A contribution is a presence: a device seen in the cell in one slot of 5 minutes.
asked AS (
    SELECT
        cell AS place, bin_start, 900 AS bin_s, devices, presences AS contributions, fixes, late_fixes,
        1 AS quarters, publish_presences AS publish
    FROM read_parquet($quarters::VARCHAR[], union_by_name = true)
    WHERE presences > 0 AND cell BETWEEN $first_cell AND $last_cell
    UNION ALL
    SELECT
        cell, bin_start, bin_s, devices, presences, fixes, late_fixes,
        presence_quarters, publish_presences
    FROM read_parquet($wide::VARCHAR[], union_by_name = true)
    WHERE publish_presences AND resolution = $resolution AND cell BETWEEN $first_cell AND $last_cell
)

-- name: visits
-- A contribution is an entry, or an exit, with the seconds inside where both ends were seen.
visits AS MATERIALIZED (
    SELECT
        zone_id, bin_start, 900 AS bin_s, entry_devices, entries, publish_entries, exit_devices, exits, publish_exits,
        dwell_devices, dwells, dwell_total_s, dwell_median_s, 1 AS entry_quarters, 1 AS exit_quarters
    FROM read_parquet($quarters::VARCHAR[], union_by_name = true)
    WHERE list_contains($zone_ids::VARCHAR[], zone_id)
    UNION ALL
    SELECT
        zone_id, bin_start, bin_s, entry_devices, entries, publish_entries, exit_devices, exits, publish_exits,
        dwell_devices, dwells, dwell_total_s, dwell_median_s, entry_quarters, exit_quarters
    FROM read_parquet($wide::VARCHAR[], union_by_name = true)
    WHERE list_contains($zone_ids::VARCHAR[], zone_id)
),
asked AS (
    SELECT
        zone_id || ' entries' AS place, bin_start, bin_s, entry_devices AS devices, entries AS contributions,
        NULL::DOUBLE AS dwell_median_s, NULL::DOUBLE AS dwell_mean_s, entry_quarters AS quarters,
        publish_entries AS publish
    FROM visits WHERE entries > 0
    UNION ALL
    SELECT
        zone_id || ' exits', bin_start, bin_s, exit_devices, exits,
        CASE WHEN dwell_devices >= $k_devices AND dwells >= $k_contributions THEN dwell_median_s END,
        CASE WHEN dwell_devices >= $k_devices AND dwells >= $k_contributions THEN dwell_total_s / dwells END,
        exit_quarters, publish_exits
    FROM visits WHERE exits > 0
)

-- name: drives_of_cells
-- A contribution is a drive that ended in the cell.
asked AS (
    SELECT
        cell AS place, bin_start, 900 AS bin_s, drive_devices AS devices, drives AS contributions,
        search_classes, searcher_devices, searchers, searchers_parked, searchers_gave_up, low_quality,
        1 AS quarters, publish_drives AS publish
    FROM read_parquet($quarters::VARCHAR[], union_by_name = true)
    WHERE drives > 0 AND cell BETWEEN $first_cell AND $last_cell
    UNION ALL
    SELECT
        cell, bin_start, bin_s, drive_devices, drives,
        search_classes, searcher_devices, searchers, searchers_parked, searchers_gave_up, low_quality,
        drive_quarters, publish_drives
    FROM read_parquet($wide::VARCHAR[], union_by_name = true)
    WHERE publish_drives AND resolution = $resolution AND cell BETWEEN $first_cell AND $last_cell
)

-- name: drives_of_zones
-- A contribution is a drive that ended in the zone.
asked AS (
    SELECT
        zone_id AS place, bin_start, 900 AS bin_s, drive_devices AS devices, drives AS contributions,
        search_classes, searcher_devices, searchers, searchers_parked, searchers_gave_up, low_quality,
        1 AS quarters, publish_drives AS publish
    FROM read_parquet($quarters::VARCHAR[], union_by_name = true)
    WHERE drives > 0 AND list_contains($zone_ids::VARCHAR[], zone_id)
    UNION ALL
    SELECT
        zone_id, bin_start, bin_s, drive_devices, drives,
        search_classes, searcher_devices, searchers, searchers_parked, searchers_gave_up, low_quality,
        drive_quarters, publish_drives
    FROM read_parquet($wide::VARCHAR[], union_by_name = true)
    WHERE publish_drives AND list_contains($zone_ids::VARCHAR[], zone_id)
)

-- name: in_areas
in_areas AS (SELECT * FROM asked WHERE list_contains($areas::BIGINT[], h3_parent(place, 6)))

-- name: publish
-- One pass, and a row without a place, so that the count of what is suppressed is told where nothing is published.
in_period AS (
    SELECT * FROM {asked}
    WHERE bin_start >= $since::TIMESTAMPTZ AND bin_start + to_seconds(bin_s) <= $until::TIMESTAMPTZ
    UNION ALL BY NAME SELECT 0 AS quarters, true AS publish
)
SELECT
    count(*) FILTER (bin_s = 900) OVER () - sum(quarters) FILTER (publish) OVER () AS suppressed,
    * EXCLUDE (quarters, publish)
FROM in_period
QUALIFY publish
ORDER BY bin_start, place
LIMIT $most_rows
