-- name: add
INSERT INTO reviews (review_id, booking_id, tenant_id, place_id, driver_id, author, stars, text)
SELECT %(review_id)s, booking_id, tenant_id, place_id, driver_id, %(author)s, %(stars)s, %(text)s
FROM bookings
WHERE booking_id = %(booking_id)s AND status = 'FULFILLED' AND extends IS NULL
RETURNING review_id, booking_id, place_id, author, stars, text, created_at

-- name: of_place
SELECT review_id, booking_id, place_id, author, stars, text, created_at
FROM reviews
WHERE place_id = %(place_id)s AND author = 'driver' AND hidden_at IS NULL
ORDER BY created_at DESC, review_id
LIMIT %(limit)s

-- name: about_me
SELECT review_id, booking_id, place_id, author, stars, text, created_at
FROM reviews
WHERE driver_id = acting_person() AND author = 'host' AND hidden_at IS NULL
ORDER BY created_at DESC, review_id
LIMIT %(limit)s

-- name: report
UPDATE reviews SET reported_at = coalesce(reported_at, clock_timestamp())
WHERE review_id = %(review_id)s
RETURNING review_id

-- name: hide
UPDATE reviews SET hidden_at = coalesce(hidden_at, clock_timestamp())
WHERE review_id = %(review_id)s
RETURNING review_id
