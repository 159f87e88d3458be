-- name: cells
-- A contribution is a presence: a device seen in the cell in one slot of 5 minutes.
contributions AS (
    SELECT DISTINCT
        h3_parent(h3_r9, $resolution::INTEGER) AS place,
        device_id,
        epoch_ms(event_time) // 300000 * 300 AS at_s,
        NULL::DOUBLE AS value
    FROM positions
    WHERE event_date BETWEEN $since::DATE AND $until::DATE
        AND event_time >= $since::TIMESTAMPTZ AND event_time < $until::TIMESTAMPTZ
        AND ($areas::BIGINT[] IS NULL OR h3_parent(h3_r9, 6) IN (SELECT unnest($areas::BIGINT[])))
        AND h3_r9 IS NOT NULL
)

-- name: visits
-- A contribution is an entry, or an exit with the seconds inside where both ends were seen.
contributions AS (
    SELECT
        fence_id || CASE kind WHEN 'enter' THEN ' entries' ELSE ' exits' END AS place,
        device_id,
        epoch_ms(event_time) // 1000 AS at_s,
        CASE kind WHEN 'exit' THEN dwell_s END AS value
    FROM geofence_events
    WHERE event_date BETWEEN $since::DATE AND $until::DATE
        AND event_time >= $since::TIMESTAMPTZ AND event_time < $until::TIMESTAMPTZ
        AND kind IN ('enter', 'exit', 'exit_inferred')
        AND fence_id IN (SELECT unnest($fence_ids::VARCHAR[]))
)

-- name: publish
-- Bins lie on a fixed grid in UTC, weeks begin on Monday. A bin is published if it passes k and nothing narrower
-- within it passes: what is published never overlaps, so that no two answers can be subtracted from each other.
grid (width, bin_s, shift_s) AS (
    VALUES (0, 900, 0), (1, 3600, 0), (2, 14400, 0), (3, 86400, 0), (4, 604800, 345600)
),
of_device AS (
    SELECT
        place, device_id, width, bin_s,
        (at_s - shift_s) // bin_s * bin_s + shift_s AS bin_start_s,
        least(count(*), $most_of_one::INTEGER) AS contributions,
        arg_min(value, at_s, $most_of_one::INTEGER) AS kept_values
    FROM contributions CROSS JOIN grid
    GROUP BY place, device_id, width, bin_s, bin_start_s
),
bins AS (
    SELECT
        place, width, bin_s, bin_start_s,
        count(*) AS devices,
        sum(contributions)::BIGINT AS contributions,
        count(*) FILTER (len(kept_values) > 0) AS value_devices,
        flatten(list(kept_values) FILTER (len(kept_values) > 0)) AS kept_values,
        count(*) >= $k_devices AND sum(contributions) >= $k_contributions AS passes
    FROM of_device
    WHERE bin_start_s >= epoch($since::TIMESTAMPTZ) AND bin_start_s + bin_s <= epoch($until::TIMESTAMPTZ)
    GROUP BY place, width, bin_s, bin_start_s
),
widened AS (
    SELECT bins.*, (bins.bin_start_s - wider.shift_s) // wider.bin_s * wider.bin_s + wider.shift_s AS wider_start_s
    FROM bins LEFT JOIN grid AS wider ON wider.width = bins.width + 1
),
published AS (
    SELECT * FROM bins
    WHERE passes AND NOT EXISTS (
        SELECT 1 FROM widened AS narrower
        WHERE narrower.passes AND narrower.place = bins.place
            AND narrower.width = bins.width - 1 AND narrower.wider_start_s = bins.bin_start_s
    )
),
suppressed AS (
    SELECT count(*) AS quarters
    FROM bins
    WHERE width = 0 AND NOT EXISTS (
        SELECT 1 FROM published
        WHERE published.place = bins.place AND published.bin_start_s <= bins.bin_start_s
            AND bins.bin_start_s < published.bin_start_s + published.bin_s
    )
)
SELECT
    place,
    bin_start_s,
    bin_s,
    (round(devices / $rounding) * $rounding)::BIGINT AS devices,
    (round(contributions / $rounding) * $rounding)::BIGINT AS contributions,
    CASE WHEN value_devices >= $k_devices AND len(kept_values) >= $k_contributions
        THEN list_aggregate(kept_values, 'median') END AS median,
    (SELECT (round(quarters / $rounding) * $rounding)::BIGINT FROM suppressed) AS suppressed
FROM published
UNION ALL BY NAME
SELECT NULL AS place, (round(quarters / $rounding) * $rounding)::BIGINT AS suppressed FROM suppressed
ORDER BY bin_start_s NULLS FIRST, place
LIMIT $most_rows
