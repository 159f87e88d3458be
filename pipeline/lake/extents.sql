-- The footers of the tables that together hold every row of the log: which offsets [first, next) each commit was decoded
-- from, how many rows they gave, and how many rows of the commit were written. A file of the sink names its one commit;
-- one that replaced others has the commits of all of them, packed in runs of differences (lineage.py).
CREATE OR REPLACE VIEW extents AS
WITH file AS (
    SELECT decode(value)::JSON AS footer, num_rows
    FROM parquet_kv_metadata([$files]) JOIN parquet_file_metadata([$files]) USING (file_name)
    WHERE decode(key) = $key
), single AS (
    SELECT (footer->>'part')::INTEGER AS part, (footer->>'seq')::BIGINT AS seq, num_rows AS held,
        from_json(
            footer->'extents',
            '[{"stream": "VARCHAR", "partition": "INTEGER", "first": "BIGINT", "next": "BIGINT", "rows": "BIGINT"}]'
        ) AS extents
    FROM file WHERE (footer->'runs') IS NULL
), run AS (
    SELECT unnest(from_json(footer->'runs', '[{
        "part": "INTEGER", "seq": "BIGINT", "held": ["BIGINT"], "extents": [{
            "stream": "VARCHAR", "partition": "INTEGER", "first": "BIGINT", "sizes": ["BIGINT"], "rows": ["BIGINT"]
        }]
    }]'), recursive := true)
    FROM (SELECT footer FROM file WHERE (footer->'runs') IS NOT NULL)
), held AS (
    SELECT part, seq, sum(held)::BIGINT AS held
    FROM (
        SELECT part, seq, held FROM single
        UNION ALL
        SELECT part, seq + generate_subscripts(held, 1) - 1, unnest(held) FROM run
    ) GROUP BY ALL
), spread AS (
    SELECT row_number() OVER () AS number, *
    FROM (SELECT part, seq, unnest(extents, recursive := true) FROM run)
), step AS (
    SELECT number, part, stream, "partition", first, seq + generate_subscripts(sizes, 1) - 1 AS seq,
        unnest(sizes) AS size, unnest(rows) AS rows
    FROM spread
), extent AS (
    SELECT part, seq, unnest(extents, recursive := true) FROM single
    UNION
    SELECT part, seq, stream, "partition", (first + sum(size) OVER upto - size)::BIGINT,
        (first + sum(size) OVER upto)::BIGINT, rows
    FROM step WINDOW upto AS (PARTITION BY number ORDER BY seq)
)
SELECT part, seq, held, stream, "partition", first, next, rows FROM extent JOIN held USING (part, seq);
