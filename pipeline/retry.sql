-- name: times
-- When the rejects asked for were received.
SELECT DISTINCT epoch_ms(receive_time) AS ms
FROM rejected
WHERE list_contains($reasons, CAST(reason AS VARCHAR))
    AND receive_time >= CAST($since AS TIMESTAMPTZ)
    AND receive_time < CAST($until AS TIMESTAMPTZ)

-- name: rejects
-- In the order in which they came.
SELECT CAST(reason AS VARCHAR), epoch_ms(receive_time), device_id, CAST(source_stream AS VARCHAR), payload, payload_bytes
FROM rejected
WHERE list_contains($reasons, CAST(reason AS VARCHAR))
    AND receive_time >= CAST($since AS TIMESTAMPTZ)
    AND receive_time < CAST($until AS TIMESTAMPTZ)
ORDER BY receive_time, source_stream, source_partition, source_offset, source_row

-- name: facts
-- Which of the rows wanted are facts already. A phone's clock may have been corrected since, by less than a day.
SELECT DISTINCT device_id, seq
FROM wanted
JOIN positions USING (device_id, seq)
WHERE event_time BETWEEN make_timestamptz($first * 1000) - INTERVAL 1 DAY AND make_timestamptz($last * 1000) + INTERVAL 1 DAY
