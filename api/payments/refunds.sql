-- name: add_refund
INSERT INTO refunds (refund_id, capture_id, booking_id, driver_id, currency, amount_minor, way, status, reason)
VALUES (
    %(refund_id)s, %(capture_id)s, %(booking_id)s, %(driver_id)s, %(currency)s, %(amount_minor)s, %(way)s, %(status)s,
    %(reason)s
)

-- name: add_back
UPDATE captures SET back_minor = back_minor + %(amount_minor)s WHERE capture_id = %(capture_id)s

-- name: take_refunds
-- Each is sent or looked at by one process; who dies over it leaves it to the next round. Nothing goes back of what is
-- in dispute.
UPDATE refunds SET tries = tries + 1,
    due_at = clock_timestamp() + least(interval '1 hour', %(again)s * power(2, least(tries, 10)))
WHERE refund_id IN (
    SELECT refund_id FROM refunds
    WHERE status IN ('due', 'sent') AND way = 'rail' AND due_at <= clock_timestamp()
        AND NOT EXISTS (SELECT FROM disputes d WHERE d.capture_id = refunds.capture_id AND d.status = 'open')
    ORDER BY due_at
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
)
RETURNING refund_id, capture_id, status, amount_minor, provider_ref, tries,
    (SELECT c.provider FROM captures c WHERE c.capture_id = refunds.capture_id) AS provider,
    (SELECT c.provider_ref FROM captures c WHERE c.capture_id = refunds.capture_id) AS captured_as

-- name: lock_refund
SELECT * FROM refunds WHERE refund_id = %(refund_id)s FOR NO KEY UPDATE

-- name: refund_of_provider
SELECT r.refund_id FROM refunds r JOIN captures c USING (capture_id)
WHERE c.provider = %(provider)s AND r.provider_ref = %(provider_ref)s

-- name: set_refund
UPDATE refunds
SET status = %(status)s, provider_ref = coalesce(%(provider_ref)s, provider_ref), failure = %(failure)s,
    changed_at = clock_timestamp()
WHERE refund_id = %(refund_id)s
