-- name: payable
SELECT DISTINCT e.tenant_id, e.currency
FROM host_earnings e JOIN bank_accounts b USING (tenant_id)
WHERE e.payout_id IS NULL AND e.due_at <= clock_timestamp() AND b.usable_at <= clock_timestamp()
    AND NOT EXISTS (
        SELECT FROM payouts p
        WHERE p.tenant_id = e.tenant_id AND p.currency = e.currency AND p.status IN ('draft', 'approved', 'sent')
    )

-- name: due_earnings
-- What was taken back counts at once, what was earned after its day of waiting.
SELECT earning_id, booking_id, kind, price_minor, amount_minor FROM host_earnings
WHERE tenant_id = %(tenant_id)s AND currency = %(currency)s AND payout_id IS NULL
    AND (due_at <= clock_timestamp() OR amount_minor < 0)
ORDER BY earning_id
FOR UPDATE

-- name: remitted_this_year
SELECT coalesce(sum(gross_minor), 0)::bigint AS remitted FROM payouts
WHERE tenant_id = %(tenant_id)s AND currency = %(currency)s AND status IN ('approved', 'sent', 'paid')
    AND drafted_at >= date_trunc('year', clock_timestamp())

-- name: add_payout
INSERT INTO payouts (
    payout_id, reference, tenant_id, currency, gross_minor, withheld_minor, rail, bank_code, account_number,
    account_name, statement
)
SELECT %(payout_id)s, %(reference)s, tenant_id, %(currency)s, %(gross_minor)s, %(withheld_minor)s, %(rail)s,
    bank_code, account_number, account_name, %(statement)s
FROM bank_accounts
WHERE tenant_id = %(tenant_id)s AND usable_at <= clock_timestamp()
ON CONFLICT DO NOTHING
RETURNING payout_id

-- name: put_in_payout
UPDATE host_earnings SET payout_id = %(payout_id)s WHERE earning_id = ANY (%(earning_ids)s)

-- name: take_out_of_payout
UPDATE host_earnings SET payout_id = NULL WHERE payout_id = %(payout_id)s

-- name: add_payback
INSERT INTO payouts (
    payout_id, reference, person_id, currency, gross_minor, rail, bank_code, account_number, account_name
)
VALUES (
    %(payout_id)s, %(reference)s, %(person_id)s, %(currency)s, %(amount_minor)s, %(rail)s, %(bank_code)s,
    %(account_number)s, %(account_name)s
)
RETURNING *

-- name: set_payout
UPDATE payouts SET
    status = %(status)s,
    approved_by = CASE %(status)s WHEN 'approved' THEN acting_person() ELSE approved_by END,
    sent_at = CASE %(status)s WHEN 'sent' THEN clock_timestamp() ELSE sent_at END,
    settled_at = CASE WHEN %(status)s IN ('paid', 'failed') THEN clock_timestamp() ELSE settled_at END,
    failure = %(failure)s
WHERE payout_id = %(payout_id)s AND status = ANY (%(sources)s)
RETURNING *

-- name: approved
-- Nothing is paid while another bank account rests.
SELECT payout_id FROM payouts
WHERE status = 'approved' AND rail = %(rail)s
    AND NOT EXISTS (
        SELECT FROM bank_accounts b WHERE b.tenant_id = payouts.tenant_id AND b.usable_at > clock_timestamp()
    )
ORDER BY drafted_at, payout_id
FOR UPDATE SKIP LOCKED

-- name: of_status
SELECT * FROM payouts
WHERE %(status)s::text IS NULL OR status = %(status)s
ORDER BY drafted_at DESC, payout_id
LIMIT 200

-- name: of_tenant
SELECT * FROM payouts WHERE tenant_id = acting_tenant() ORDER BY drafted_at DESC, payout_id LIMIT 200

-- name: of_person
SELECT * FROM payouts WHERE person_id = acting_person() ORDER BY drafted_at DESC, payout_id LIMIT 200

-- name: waiting
SELECT currency, sum(amount_minor)::bigint AS waiting_minor,
    coalesce(sum(amount_minor) FILTER (WHERE due_at <= clock_timestamp() OR amount_minor < 0), 0)::bigint AS due_minor
FROM host_earnings
WHERE tenant_id = acting_tenant() AND payout_id IS NULL
GROUP BY currency
ORDER BY currency

-- name: bank_account
SELECT bank_code, account_number, account_name, usable_at FROM bank_accounts WHERE tenant_id = acting_tenant()

-- name: put_bank_account
-- The first one may be used at once; another takes its place after 72 h, in which nothing is paid at all.
INSERT INTO bank_accounts AS known (tenant_id, bank_code, account_number, account_name, usable_at)
VALUES (%(tenant_id)s, %(bank_code)s, %(account_number)s, %(account_name)s, clock_timestamp())
ON CONFLICT (tenant_id) DO UPDATE SET
    bank_code = excluded.bank_code, account_number = excluded.account_number, account_name = excluded.account_name,
    usable_at = clock_timestamp() + interval '72 hours', changed_at = clock_timestamp()
RETURNING usable_at, usable_at > clock_timestamp() AS changed

-- name: tenant
SELECT name FROM tenants WHERE tenant_id = %(tenant_id)s

-- name: owners
SELECT DISTINCT person_id FROM memberships
WHERE tenant_id = %(tenant_id)s AND role IN ('host', 'operator_admin')

-- name: own_host
SELECT tenant_id FROM memberships
WHERE person_id = acting_person() AND role = 'host'
ORDER BY granted_at, tenant_id
LIMIT 1

-- name: audit
INSERT INTO audit_entries (actor, tenant_id, action, details)
VALUES (acting_person(), %(tenant_id)s, %(action)s, %(details)s)

-- name: balances
SELECT currency, sum(balance_minor)::bigint AS balance_minor,
    coalesce(sum(balance_minor) FILTER (WHERE account = 'credit'), 0)::bigint AS payable_minor
FROM ledger_balances
WHERE owner = acting_person() AND account IN ('credit', 'credit_given')
GROUP BY currency
ORDER BY currency

-- name: moves
SELECT t.at, t.kind, p.currency, sum(p.amount_minor)::bigint AS amount_minor, t.booking_id
FROM ledger_postings p JOIN ledger_transactions t USING (transaction_id)
WHERE p.owner = acting_person() AND p.account IN ('credit', 'credit_given')
GROUP BY t.transaction_id, t.at, t.kind, p.currency, t.booking_id
ORDER BY t.transaction_id DESC
LIMIT 200

-- name: receipt
SELECT b.booking_id, b.status, b.payment_status, b.currency, p.name AS place, lower(b.during) AS starts_at,
    upper(b.during) AS ends_at, b.plate
FROM bookings b JOIN places p USING (place_id)
WHERE b.booking_id = %(booking_id)s AND b.driver_id = acting_person()

-- name: receipt_lines
SELECT captured_at AS at, CASE WHEN charge_id IS NULL THEN 'payment' ELSE 'balance' END AS kind, rail AS way,
    amount_minor
FROM captures WHERE booking_id = %(booking_id)s
UNION ALL
SELECT changed_at, 'refund', way, -amount_minor FROM refunds WHERE booking_id = %(booking_id)s AND status = 'done'
UNION ALL
SELECT changed_at, 'refund', CASE failure WHEN 'disputed' THEN 'bank' ELSE 'credit' END, -amount_minor FROM refunds
WHERE booking_id = %(booking_id)s AND status = 'failed'
ORDER BY at

-- name: refunded_alone
SELECT coalesce(sum(amount_minor), 0)::bigint AS amount_minor FROM refund_requests
WHERE booking_id = %(booking_id)s AND status = 'done' AND decided_by IS NULL

-- name: add_request
INSERT INTO refund_requests (booking_id, amount_minor, reason, status, asked_by)
VALUES (%(booking_id)s, %(amount_minor)s, %(reason)s, %(status)s, acting_person())
RETURNING *

-- name: decide_request
UPDATE refund_requests SET status = %(status)s, decided_by = acting_person()
WHERE request_id = %(request_id)s AND status = 'waiting'
RETURNING *

-- name: waiting_requests
SELECT * FROM refund_requests WHERE status = 'waiting' ORDER BY created_at LIMIT 200
