-- name: booking
SELECT booking_id, tenant_id, driver_id, status, payment_status, currency, total_minor, approval, hold_expires_at,
    pay_later
FROM bookings
WHERE booking_id = %(booking_id)s

-- name: lock_booking
SELECT booking_id, tenant_id, driver_id, status, payment_status, currency, total_minor, approval, hold_expires_at,
    pay_later
FROM bookings
WHERE booking_id = %(booking_id)s
FOR NO KEY UPDATE

-- name: add_earning
INSERT INTO host_earnings (tenant_id, booking_id, kind, currency, price_minor, amount_minor, due_at)
VALUES (
    %(tenant_id)s, %(booking_id)s, %(kind)s, %(currency)s, %(price_minor)s, %(amount_minor)s,
    clock_timestamp() + interval '24 hours'
)

-- name: earn_later
UPDATE disputes SET earn_later_minor = earn_later_minor + %(amount_minor)s
WHERE dispute_id = (
    SELECT dispute_id FROM disputes WHERE booking_id = %(booking_id)s AND status = 'open' ORDER BY opened_at LIMIT 1
)
RETURNING dispute_id

-- name: refund_later
UPDATE disputes SET refund_later_minor = refund_later_minor + %(amount_minor)s
WHERE dispute_id = (
    SELECT dispute_id FROM disputes WHERE booking_id = %(booking_id)s AND status = 'open' ORDER BY opened_at LIMIT 1
)
RETURNING dispute_id

-- name: given_back_before
SELECT EXISTS (SELECT FROM disputes d WHERE d.booking_id = %(booking_id)s AND d.status = 'lost')
    OR EXISTS (SELECT FROM refund_requests r WHERE r.booking_id = %(booking_id)s AND r.status = 'done') AS is_so

-- name: add_charge
INSERT INTO charges (booking_id, driver_id, kind, currency, amount_minor)
VALUES (%(booking_id)s, %(driver_id)s, %(kind)s, %(currency)s, %(amount_minor)s)
RETURNING charge_id

-- name: open_charge
SELECT charge_id, kind, currency, amount_minor FROM charges
WHERE booking_id = %(booking_id)s AND status = 'open'
ORDER BY created_at, charge_id
LIMIT 1

-- name: pay_charge
UPDATE charges SET status = 'paid' WHERE charge_id = %(charge_id)s AND status = 'open' RETURNING kind

-- name: held_captures
SELECT * FROM captures
WHERE booking_id = %(booking_id)s AND allocation = 'held' AND back_minor < amount_minor
ORDER BY captured_at DESC, capture_id
FOR NO KEY UPDATE

-- name: captured_fees
SELECT capture_id, fee_minor FROM captures
WHERE booking_id = %(booking_id)s AND allocation = 'held' AND fee_minor > 0
ORDER BY capture_id

-- name: money_of
SELECT coalesce(sum(amount_minor), 0)::bigint AS captured, coalesce(sum(back_minor), 0)::bigint AS back,
    EXISTS (SELECT FROM refunds r WHERE r.booking_id = %(booking_id)s AND r.way = 'rail') AS by_rail,
    EXISTS (SELECT FROM charges c WHERE c.booking_id = %(booking_id)s AND c.status = 'open') AS owing,
    EXISTS (SELECT FROM disputes d WHERE d.booking_id = %(booking_id)s AND d.status = 'open') AS disputed
FROM captures
WHERE booking_id = %(booking_id)s AND allocation = 'held'

-- name: reader_of
SELECT email, phone, locale FROM people
WHERE person_id = %(person_id)s AND erased_at IS NULL

-- name: current_payment
SELECT * FROM payments WHERE booking_id = %(booking_id)s AND status IN ('creating', 'open') FOR NO KEY UPDATE

-- name: add_payment
INSERT INTO payments (booking_id, driver_id, charge_id, provider, currency, amount_minor, status, closes_at)
VALUES (
    %(booking_id)s, %(driver_id)s, %(charge_id)s, %(provider)s, %(currency)s, %(amount_minor)s, 'creating',
    %(closes_at)s
)
RETURNING *

-- name: opened
UPDATE payments SET status = 'open', checkout_id = %(checkout_id)s, checkout_url = %(checkout_url)s
WHERE payment_id = %(payment_id)s AND status = ANY (%(sources)s)
RETURNING payment_id

-- name: note_checkout
-- The answer came after the payment had ended otherwise: the id is kept, so that its money is found.
UPDATE payments SET checkout_id = %(checkout_id)s, checkout_url = %(checkout_url)s
WHERE payment_id = %(payment_id)s AND checkout_id IS NULL

-- name: set_payment
UPDATE payments SET status = %(status)s, failure = %(failure)s
WHERE payment_id = %(payment_id)s AND status = ANY (%(sources)s)
RETURNING payment_id

-- name: payment
SELECT * FROM payments WHERE payment_id = %(payment_id)s

-- name: payment_of_checkout
SELECT * FROM payments WHERE provider = %(provider)s AND checkout_id = %(checkout_id)s

-- name: add_capture
INSERT INTO captures (
    payment_id, booking_id, driver_id, charge_id, provider, provider_ref, rail, currency, amount_minor, fee_minor,
    credit_given_minor, captured_at
)
SELECT payment_id, booking_id, driver_id, charge_id, provider, %(provider_ref)s, %(rail)s, %(currency)s,
    %(amount_minor)s, %(fee_minor)s, %(credit_given_minor)s, %(captured_at)s
FROM payments
WHERE payment_id = %(payment_id)s
ON CONFLICT (provider, provider_ref) DO NOTHING
RETURNING capture_id, booking_id

-- name: capture_to_allocate
SELECT c.*, p.booking_id AS paid_for, p.amount_minor AS asked_minor, p.currency AS asked_currency
FROM captures c JOIN payments p USING (payment_id)
WHERE capture_id = %(capture_id)s AND allocation = 'none'
FOR NO KEY UPDATE OF c

-- name: already_paid
SELECT FROM captures c JOIN payments p USING (payment_id)
WHERE p.booking_id = %(booking_id)s AND c.allocation = 'held' AND c.charge_id IS NULL

-- name: allocate
UPDATE captures SET allocation = %(allocation)s, booking_id = %(booking_id)s WHERE capture_id = %(capture_id)s

-- name: unallocated
SELECT capture_id FROM captures WHERE allocation = 'none' ORDER BY recorded_at LIMIT 100

-- name: take_looks
-- Each is looked at by one process; who dies over it leaves it to the next round.
UPDATE payments SET look_at = clock_timestamp() + %(every)s
WHERE payment_id IN (
    SELECT payment_id FROM payments
    WHERE status IN ('creating', 'open') AND look_at <= clock_timestamp()
    ORDER BY look_at
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
)
RETURNING *

-- name: take_closings
-- Checkouts whose time is over, and those of holds that hold nothing any more.
UPDATE payments SET closes_at = %(now)s + %(again)s
WHERE payment_id IN (
    SELECT payment_id FROM payments JOIN bookings USING (booking_id)
    WHERE payments.status IN ('creating', 'open')
        AND (
            closes_at <= %(now)s
            OR (charge_id IS NULL AND bookings.status <> 'HELD' AND closes_at > %(now)s + %(again)s)
        )
    ORDER BY closes_at
    LIMIT %(most)s
    FOR UPDATE OF payments SKIP LOCKED
)
RETURNING *

-- name: add_event
INSERT INTO webhook_events (provider, event_id, kind, checkout_id, capture_id, refund_id, fresh)
VALUES (%(provider)s, %(event_id)s, %(kind)s, %(checkout_id)s, %(capture_id)s, %(refund_id)s, %(fresh)s)
ON CONFLICT DO NOTHING

-- name: take_events
UPDATE webhook_events SET tries = tries + 1,
    due_at = clock_timestamp() + least(interval '1 hour', interval '20 seconds' * power(2, tries))
WHERE (provider, event_id) IN (
    SELECT provider, event_id FROM webhook_events
    WHERE done_at IS NULL AND due_at <= clock_timestamp()
    ORDER BY due_at
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
)
RETURNING *

-- name: event_done
UPDATE webhook_events SET done_at = clock_timestamp() WHERE provider = %(provider)s AND event_id = %(event_id)s

-- name: clean_events
DELETE FROM webhook_events WHERE received_at < clock_timestamp() - interval '90 days'

-- name: capture_of_provider
SELECT * FROM captures WHERE provider = %(provider)s AND provider_ref = %(provider_ref)s

-- name: take_job
UPDATE money_jobs SET due_at = clock_timestamp() + %(lease)s
WHERE job = %(job)s AND due_at <= clock_timestamp()
RETURNING ran_at

-- name: job_done
UPDATE money_jobs SET ran_at = %(began_at)s, due_at = clock_timestamp() + %(every)s WHERE job = %(job)s

-- name: add_dispute
INSERT INTO disputes (capture_id, booking_id, provider_ref, currency, amount_minor, from_held_minor)
VALUES (%(capture_id)s, %(booking_id)s, %(provider_ref)s, %(currency)s, %(amount_minor)s, %(from_held_minor)s)
ON CONFLICT (provider_ref) DO NOTHING
RETURNING *

-- name: capture
SELECT * FROM captures WHERE capture_id = %(capture_id)s

-- name: lock_capture
SELECT * FROM captures WHERE capture_id = %(capture_id)s FOR NO KEY UPDATE

-- name: dispute
SELECT * FROM disputes WHERE provider_ref = %(provider_ref)s FOR NO KEY UPDATE

-- name: dispute_by_id
SELECT * FROM disputes WHERE dispute_id = %(dispute_id)s

-- name: undecided
SELECT d.dispute_id, d.booking_id, c.provider, d.provider_ref, d.amount_minor, d.currency, d.opened_at
FROM disputes d JOIN captures c USING (capture_id)
WHERE d.status = 'open'
ORDER BY d.opened_at
LIMIT 200

-- name: set_dispute
UPDATE disputes SET status = %(status)s, closed_at = clock_timestamp()
WHERE dispute_id = %(dispute_id)s AND status = ANY (%(sources)s)
RETURNING *

-- name: add_back
UPDATE captures SET back_minor = back_minor + %(amount_minor)s WHERE capture_id = %(capture_id)s

-- name: open_disputes
SELECT c.provider, c.provider_ref FROM disputes d JOIN captures c USING (capture_id)
WHERE d.status = 'open' AND c.provider = %(provider)s

-- name: waiting
SELECT account, currency, sum(balance_minor)::bigint AS balance_minor,
    extract(epoch FROM clock_timestamp() - min(changed_at))::double precision AS age_s
FROM ledger_balances
WHERE account IN ('unallocated', 'refund_due') AND balance_minor > 0
GROUP BY account, currency

-- name: paid_with_credit
-- A payment with credit for what is due no more: an answer that was lost is given again.
SELECT p.* FROM payments p JOIN bookings b USING (booking_id)
WHERE booking_id = %(booking_id)s AND p.driver_id = %(driver_id)s AND p.provider = 'credit' AND p.status = 'paid'
    AND b.status <> 'HELD'
    AND NOT EXISTS (SELECT FROM charges c WHERE c.booking_id = p.booking_id AND c.status = 'open')
ORDER BY p.created_at DESC
LIMIT 1
