-- Bins of a statistic within a period, from roll-ups: what is published, and how many quarters of an hour with data are in
-- none of it. `place`, `devices` and `contributions` mean what the statistic says; `publish` was decided with the bin.

-- name: cells
-- A contribution is a presence: a device seen in the cell in one slot of 5 minutes.
bins AS (
    SELECT
        cell AS place, bin_start, 900 AS bin_s, 1 AS quarters, publish_presences AS publish,
        devices, presences AS contributions, fixes, late_fixes
    FROM cell_metrics_r{resolution}
    WHERE event_date BETWEEN $since::DATE AND $until::DATE AND presences > 0
        AND cell BETWEEN coalesce(h3_first(list_min($areas::BIGINT[]), {resolution}), 0)
            AND coalesce(h3_last(list_max($areas::BIGINT[]), {resolution}), 9223372036854775807)
    UNION ALL
    SELECT
        cell, bin_start, bin_s, presence_quarters, publish_presences,
        devices, presences, fixes, late_fixes
    FROM cell_metrics_wide
    WHERE event_date BETWEEN $since::DATE AND $until::DATE AND resolution = {resolution} AND publish_presences
        AND cell BETWEEN coalesce(h3_first(list_min($areas::BIGINT[]), {resolution}), 0)
            AND coalesce(h3_last(list_max($areas::BIGINT[]), {resolution}), 9223372036854775807)
),
asked AS (
    SELECT * FROM bins WHERE $areas::BIGINT[] IS NULL OR h3_parent(place, 6) IN (SELECT unnest($areas::BIGINT[]))
)

-- name: visits
-- A contribution is an entry, or an exit, with the seconds inside where both ends were seen.
visits AS (
    SELECT *, 900 AS bin_s, 1 AS entry_quarters, 1 AS exit_quarters FROM zone_metrics
    WHERE event_date BETWEEN $since::DATE AND $until::DATE AND zone_id IN (SELECT unnest($zone_ids::VARCHAR[]))
    UNION ALL BY NAME
    SELECT * EXCLUDE (drive_quarters) FROM zone_metrics_wide
    WHERE event_date BETWEEN $since::DATE AND $until::DATE AND zone_id IN (SELECT unnest($zone_ids::VARCHAR[]))
),
asked AS (
    SELECT
        zone_id || ' entries' AS place, bin_start, bin_s, entry_quarters AS quarters, publish_entries AS publish,
        entry_devices AS devices, entries AS contributions, NULL::DOUBLE AS dwell_median_s
    FROM visits WHERE entries > 0
    UNION ALL
    SELECT
        zone_id || ' exits', bin_start, bin_s, exit_quarters, publish_exits, exit_devices, exits,
        CASE WHEN dwell_devices >= $k_devices AND dwells >= $k_contributions THEN dwell_median_s END
    FROM visits WHERE exits > 0
)

-- name: drives_of_cells
bins AS (
    SELECT *, 900 AS bin_s, 1 AS drive_quarters FROM cell_metrics_r{resolution}
    WHERE event_date BETWEEN $since::DATE AND $until::DATE AND drives > 0
        AND cell BETWEEN coalesce(h3_first(list_min($areas::BIGINT[]), {resolution}), 0)
            AND coalesce(h3_last(list_max($areas::BIGINT[]), {resolution}), 9223372036854775807)
    UNION ALL BY NAME
    SELECT * EXCLUDE (resolution, presence_quarters) FROM cell_metrics_wide
    WHERE event_date BETWEEN $since::DATE AND $until::DATE AND resolution = {resolution} AND publish_drives
        AND cell BETWEEN coalesce(h3_first(list_min($areas::BIGINT[]), {resolution}), 0)
            AND coalesce(h3_last(list_max($areas::BIGINT[]), {resolution}), 9223372036854775807)
),
asked AS (
    SELECT
        cell AS place, bin_start, bin_s, drive_quarters AS quarters, publish_drives AS publish,
        drive_devices AS devices, drives AS contributions,
        search_classes, searcher_devices, searchers, searchers_parked, searchers_gave_up, low_quality
    FROM bins
    WHERE $areas::BIGINT[] IS NULL OR h3_parent(cell, 6) IN (SELECT unnest($areas::BIGINT[]))
)

-- name: drives_of_zones
bins AS (
    SELECT *, 900 AS bin_s, 1 AS drive_quarters FROM zone_metrics
    WHERE event_date BETWEEN $since::DATE AND $until::DATE AND drives > 0
    UNION ALL BY NAME
    SELECT * EXCLUDE (entry_quarters, exit_quarters) FROM zone_metrics_wide
    WHERE event_date BETWEEN $since::DATE AND $until::DATE AND publish_drives
),
asked AS (
    SELECT
        zone_id AS place, bin_start, bin_s, drive_quarters AS quarters, publish_drives AS publish,
        drive_devices AS devices, drives AS contributions,
        search_classes, searcher_devices, searchers, searchers_parked, searchers_gave_up, low_quality
    FROM bins WHERE zone_id IN (SELECT unnest($zone_ids::VARCHAR[]))
)

-- name: publish
in_period AS (
    SELECT * FROM asked
    WHERE bin_start >= $since::TIMESTAMPTZ AND bin_start + to_seconds(bin_s) <= $until::TIMESTAMPTZ
),
summary AS (
    SELECT count(*) FILTER (bin_s = 900) - coalesce(sum(quarters) FILTER (publish), 0) AS suppressed FROM in_period
)
SELECT summary.suppressed, in_period.* EXCLUDE (quarters, publish)
FROM summary LEFT JOIN in_period ON publish
ORDER BY bin_start, place
LIMIT $most_rows
