-- The facts of every device that has some in the days asked for and around them, each device's together.
-- File and row come last, so that the same files always give the same order.
SELECT
    device_id,
    epoch_ms(event_time) AS event_time,
    epoch_ms(device_time) AS device_time,
    epoch_ms(receive_time) AS receive_time,
    seq,
    CAST(lat * 1000000 AS INTEGER) AS lat,
    CAST(lon * 1000000 AS INTEGER) AS lon,
    accuracy_m,
    speed_mps,
    heading_deg,
    CAST(list_position($activities, CAST(activity AS VARCHAR)) - 1 AS TINYINT) AS activity,
    activity_confidence,
    late
FROM read_parquet(
    $positions, union_by_name = true, hive_partitioning = true, hive_types = {'event_date': DATE},
    filename = true, file_row_number = true
)
WHERE event_date BETWEEN $first AND $last
    AND device_id IN (
        SELECT device_id
        FROM read_parquet($positions, hive_partitioning = true, hive_types = {'event_date': DATE})
        WHERE event_date BETWEEN $near_first AND $near_last AND NOT late
    )
ORDER BY device_id, filename, file_row_number
