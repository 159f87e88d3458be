-- name: unbalanced
SELECT 'transaction ' || transaction_id || ' sums to ' || sum(amount_minor)
FROM ledger_postings GROUP BY transaction_id, currency HAVING sum(amount_minor) <> 0

-- name: balances
SELECT 'balance of ' || account || ' ' || owner || ' is ' || coalesce(kept.sum, 0) || ', its postings ' || coalesce(posted.sum, 0)
FROM (SELECT account, owner, currency, balance_minor AS sum FROM ledger_balances) AS kept
FULL JOIN (
    SELECT account, owner, currency, sum(amount_minor) AS sum
    FROM ledger_postings JOIN ledger_accounts USING (account)
    WHERE owned GROUP BY account, owner, currency
) AS posted USING (account, owner, currency)
WHERE coalesce(kept.sum, 0) <> coalesce(posted.sum, 0)

-- name: everywhere_once
-- What was captured, or given, stands on the places of the ledger, no centavo more or less.
SELECT 'sources and places differ by ' || sum(amount_minor) || ' ' || currency
FROM ledger_postings GROUP BY currency HAVING sum(amount_minor) <> 0

-- name: captured
SELECT 'captured ' || coalesce(booked.sum, 0) || ' of capture ' || coalesce(c.capture_id::text, booked.reference)
FROM (SELECT * FROM captures WHERE provider <> 'credit') AS c
FULL JOIN (
    SELECT substr(t.reference, 10) AS reference, -p.amount_minor AS sum
    FROM ledger_postings p JOIN ledger_transactions t USING (transaction_id)
    WHERE p.account = 'captured'
) AS booked ON booked.reference = c.capture_id::text
WHERE c.amount_minor IS DISTINCT FROM booked.sum

-- name: unallocated
SELECT 'unallocated of ' || b.owner || ' is ' || b.balance_minor
FROM ledger_balances b
WHERE b.account = 'unallocated' AND b.balance_minor <> (
    SELECT coalesce(sum(amount_minor), 0) FROM captures c WHERE c.booking_id = b.owner AND c.allocation = 'none'
)

-- name: refund_due
SELECT 'refund due of ' || b.owner || ' is ' || b.balance_minor
FROM ledger_balances b
WHERE b.account = 'refund_due' AND b.balance_minor <> (
    SELECT coalesce(sum(r.amount_minor), 0) FROM refunds r
    WHERE r.booking_id = b.owner AND r.way = 'rail' AND r.status IN ('due', 'sent')
) + (
    SELECT coalesce(sum(p.gross_minor), 0) FROM payouts p
    WHERE p.payout_id = b.owner AND p.status IN ('draft', 'approved', 'sent')
)

-- name: back
SELECT 'of capture ' || c.capture_id || ' ' || c.back_minor || ' is on its way back'
FROM captures c
WHERE c.back_minor <> (SELECT coalesce(sum(r.amount_minor), 0) FROM refunds r WHERE r.capture_id = c.capture_id)
    + (SELECT coalesce(sum(d.amount_minor), 0) FROM disputes d WHERE d.capture_id = c.capture_id AND d.status <> 'won')

-- name: paid_bookings
-- Whoever has a place that costs something has paid for it, once, and it is still held.
SELECT 'booking ' || b.booking_id || ' is ' || b.status || ' with ' || coalesce(h.balance_minor, 0) || ' of ' || b.total_minor
FROM bookings b
LEFT JOIN ledger_balances h ON h.account = 'held' AND h.owner = b.booking_id
WHERE b.status IN ('RESERVED', 'ACTIVE', 'OVERSTAY') AND b.total_minor > 0 AND NOT b.pay_later
    AND NOT EXISTS (SELECT FROM disputes d WHERE d.booking_id = b.booking_id)
    AND NOT EXISTS (SELECT FROM refund_requests r WHERE r.booking_id = b.booking_id)
    AND coalesce(h.balance_minor, 0) <> b.total_minor
    AND b.replaces IS NULL

-- name: ended_bookings
-- Nothing is held for what is over, or never was.
SELECT 'booking ' || b.booking_id || ' is ' || b.status || ' and holds ' || h.balance_minor
FROM bookings b
JOIN ledger_balances h ON h.account = 'held' AND h.owner = b.booking_id
WHERE b.status IN ('HELD', 'EXPIRED', 'CANCELED', 'FULFILLED', 'NO_SHOW') AND h.balance_minor <> 0

-- name: double_bookings
SELECT 'bookings ' || a.booking_id || ' and ' || b.booking_id || ' overlap'
FROM bookings a JOIN bookings b ON a.space_id = b.space_id AND a.booking_id < b.booking_id AND a.during && b.during
WHERE a.place_kind = 'space' AND b.place_kind = 'space'
    AND a.status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY') AND b.status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY')

-- name: oversold
SELECT 'lot ' || lot_id || ' at ' || starts_at FROM lot_buckets WHERE used NOT BETWEEN 0 AND capacity

-- name: host_payable
SELECT 'host ' || coalesce(l.owner, e.tenant_id) || ' has ' || coalesce(l.sum, 0) || ' in the ledger, ' || coalesce(e.sum, 0)
    || ' in earnings'
FROM (
    SELECT owner, currency, sum(amount_minor) AS sum FROM ledger_postings
    WHERE account = 'host_payable' GROUP BY owner, currency
) AS l
FULL JOIN (
    SELECT tenant_id, currency, sum(amount_minor) AS sum FROM host_earnings
    WHERE payout_id IS NULL
        OR EXISTS (SELECT FROM payouts p WHERE p.payout_id = host_earnings.payout_id AND p.status IN ('draft', 'approved'))
    GROUP BY tenant_id, currency
) AS e ON e.tenant_id = l.owner AND e.currency = l.currency
WHERE coalesce(l.sum, 0) <> coalesce(e.sum, 0)
