-- name: alone
-- Before the day is chosen: whoever closes it waits for this transaction, or this one for that.
SELECT pg_advisory_xact_lock_shared(hashtextextended('day:' || %(lot_id)s::uuid::text, 0))

-- name: alone_to_close
SELECT pg_advisory_xact_lock(hashtextextended('day:' || %(lot_id)s::uuid::text, 0))

-- name: day
-- The local day of the place, or the one after the last that was closed.
SELECT greatest(
    (%(now)s AT TIME ZONE p.time_zone)::date,
    (SELECT max(day) + 1 FROM day_closes c WHERE c.lot_id = p.place_id)
) AS day
FROM places p
WHERE p.place_id = %(lot_id)s AND p.tenant_id = %(tenant_id)s

-- name: count
INSERT INTO gate_counts (lot_id, tenant_id, day, counted_by, counted_at, entered, departed, standing)
VALUES (
    %(lot_id)s, %(tenant_id)s, %(day)s, acting_person(), %(now)s, %(entered)s, %(departed)s, %(standing)s
)

-- name: occupancies
-- What was found standing last, and who entered and departed since; null until somebody has counted what stands.
SELECT p.place_id, p.capacity,
    (SELECT count(*) FROM bookings b
     WHERE b.place_id = p.place_id AND b.status IN ('ACTIVE', 'OVERSTAY') AND b.extends IS NULL)::integer AS checked_in,
    CASE WHEN found.standing IS NOT NULL THEN (
        SELECT greatest(0, found.standing + coalesce(sum(entered - departed), 0)) FROM gate_counts g
        WHERE g.lot_id = p.place_id AND g.counted_at > found.counted_at
    ) END::integer AS standing,
    (SELECT max(counted_at) FROM gate_counts g WHERE g.lot_id = p.place_id) AS counted_at
FROM places p LEFT JOIN LATERAL (
    SELECT counted_at, standing FROM gate_counts
    WHERE lot_id = p.place_id AND standing IS NOT NULL
    ORDER BY counted_at DESC
    LIMIT 1
) found ON true
WHERE p.place_id = ANY (%(lot_ids)s) AND (%(tenant_id)s::uuid IS NULL OR p.tenant_id = %(tenant_id)s)

-- name: report
-- A day lasts from the closing of the one before, or local midnight, until now, or the next local midnight.
WITH day AS (
    SELECT p.place_id, p.tenant_id, t.currency,
        coalesce(before.closed_at, (%(day)s::date)::timestamp AT TIME ZONE p.time_zone) AS since,
        least(%(now)s, (%(day)s::date + 1)::timestamp AT TIME ZONE p.time_zone) AS until,
        (%(now)s AT TIME ZONE p.time_zone)::date AS today
    FROM places p JOIN tariffs t USING (tariff_id)
    LEFT JOIN day_closes before ON before.lot_id = p.place_id AND before.day = %(day)s::date - 1
        AND before.closed_at < (%(day)s::date)::timestamp AT TIME ZONE p.time_zone
    WHERE p.place_id = %(lot_id)s AND p.tenant_id = %(tenant_id)s
), counted AS (
    SELECT coalesce(sum(entered), 0)::integer AS entered, coalesce(sum(departed), 0)::integer AS departed
    FROM gate_counts WHERE lot_id = %(lot_id)s AND day = %(day)s
), booked AS (
    SELECT count(*) FILTER (WHERE checked_in_at >= since AND checked_in_at < until)::integer AS check_ins,
        count(*) FILTER (WHERE checked_in_at >= since AND checked_in_at < until AND kind = 'walk_up')::integer
            AS walk_ups,
        count(*) FILTER (WHERE checked_out_at >= since AND checked_out_at < until)::integer AS check_outs
    FROM day JOIN bookings b ON b.place_id = day.place_id AND b.extends IS NULL
), taken AS (
    SELECT coalesce(sum(amount_minor), 0)::bigint AS cash_minor, count(*)::integer AS cash_payments
    FROM cash_takings WHERE lot_id = %(lot_id)s AND day = %(day)s
), owing AS (
    SELECT coalesce(sum(c.amount_minor), 0)::bigint AS unpaid_minor
    FROM day JOIN bookings b ON b.place_id = day.place_id AND b.checked_out_at >= since AND b.checked_out_at < until
    JOIN charges c ON c.booking_id = b.booking_id AND c.status = 'open'
)
SELECT %(day)s::date AS day, since, until, today, currency, entered, departed, check_ins, walk_ups, check_outs,
    entered - check_ins AS entered_without_booking, cash_minor, cash_payments, unpaid_minor
FROM day, counted, booked, taken, owing

-- name: close
INSERT INTO day_closes (lot_id, day, tenant_id, closed_by, closed_at, report)
VALUES (%(lot_id)s, %(day)s, %(tenant_id)s, acting_person(), %(now)s, %(report)s)

-- name: closed
SELECT report FROM day_closes
WHERE lot_id = %(lot_id)s AND tenant_id = %(tenant_id)s
ORDER BY day DESC
LIMIT %(limit)s
