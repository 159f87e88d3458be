-- name: found
CREATE TABLE found_{table} AS
SELECT {columns}, event_date
FROM read_parquet($paths, union_by_name = true, hive_partitioning = true, hive_types = {'event_date': DATE})
WHERE event_date BETWEEN $first AND $last AND device_id NOT IN (SELECT device_id FROM erased)

-- name: decided
CREATE TABLE {kind}_{table} AS
SELECT {columns}, CAST({date} AS DATE) AS event_date
FROM decided
WHERE device_id NOT IN (SELECT device_id FROM erased)

-- name: count
SELECT count(*) FROM found_{table}

-- name: surplus
SELECT event_date, CAST(detector AS VARCHAR), count(*)
FROM (FROM found_{table} EXCEPT ALL FROM possible_{table})
GROUP BY ALL

-- name: missing
SELECT event_date, count(*) FROM (FROM certain_{table} EXCEPT ALL FROM found_{table}) GROUP BY ALL
