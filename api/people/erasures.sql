-- name: requested
SELECT device_id FROM erasure_requests WHERE done_at IS NULL ORDER BY requested_at, device_id

-- name: done
UPDATE erasure_requests SET done_at = clock_timestamp() WHERE device_id = ANY(%(device_ids)s) AND done_at IS NULL
