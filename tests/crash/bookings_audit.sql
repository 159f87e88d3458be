-- name: double_bookings
SELECT count(*) FROM bookings a JOIN bookings b ON a.place_id = b.place_id AND a.booking_id < b.booking_id
WHERE a.place_kind = 'space' AND b.place_kind = 'space' AND a.during && b.during
    AND a.status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')
    AND b.status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')

-- name: stays_on_one_space_at_a_time
SELECT count(*) FROM bookings a JOIN bookings b ON a.space_id = b.space_id AND a.booking_id < b.booking_id
WHERE a.checked_in_at IS NOT NULL AND b.checked_in_at IS NOT NULL AND a.extends IS NULL AND b.extends IS NULL
    AND a.checked_in_at < coalesce(b.checked_out_at, 'infinity')
    AND b.checked_in_at < coalesce(a.checked_out_at, 'infinity')
    AND a.status IN ('ACTIVE', 'OVERSTAY') AND b.status IN ('ACTIVE', 'OVERSTAY')

-- name: oversold_quarters_of_lots
SELECT count(*) FROM (
    SELECT place_id, quarter
    FROM bookings, generate_series(lower(during), upper(during) - interval '15 min', interval '15 min') quarter
    WHERE place_kind = 'lot' AND status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')
    GROUP BY 1, 2
    HAVING count(*) > (SELECT capacity FROM places p WHERE p.place_id = bookings.place_id)
) AS oversold

-- name: quarters_whose_count_is_not_that_of_their_bookings
SELECT count(*) FROM lot_buckets u
WHERE starts_at > %(now)s + interval '1 hour' AND used <> (
    SELECT count(*) FROM bookings b
    WHERE b.place_id = u.lot_id AND b.status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')
        AND b.during @> u.starts_at)

-- name: bookings_whose_history_does_not_end_in_their_status
SELECT count(*) FROM bookings b
WHERE booking_id IN (SELECT booking_id FROM booking_history WHERE entry_id > %(since)s) AND status <> (
    SELECT to_status FROM booking_history h WHERE h.booking_id = b.booking_id
    ORDER BY entry_id DESC LIMIT 1)

-- name: changes_that_no_transition_allows
SELECT count(*) FROM booking_history h
WHERE entry_id > %(since)s AND from_status <> to_status AND from_status IS NOT NULL
    AND (from_status, to_status) NOT IN (SELECT from_status, to_status FROM booking_transitions)

-- name: requests_that_happened_twice
SELECT count(*) FROM (
    SELECT FROM bookings
    WHERE extends IS NULL AND replaces IS NULL AND plate IN (
        SELECT plate FROM bookings JOIN booking_history USING (booking_id)
        WHERE entry_id > %(since)s AND from_status IS NULL
    )
    GROUP BY plate HAVING count(*) > 1
) AS twice

-- name: paid_bookings_that_are_over_and_do_not_add_up
SELECT count(*) FROM bookings b
WHERE booking_id IN (SELECT booking_id FROM booking_history WHERE entry_id > %(since)s)
    AND status IN ('FULFILLED', 'CANCELED', 'NO_SHOW') AND payment_status = 'paid' AND total_minor <> (
        SELECT coalesce(sum(amount_minor), 0) FROM attack_books k
        WHERE k.booking_id = b.booking_id AND what IN ('earned', 'refund'))
