-- name: post
WITH written AS (
    INSERT INTO ledger_transactions (kind, reference, booking_id)
    VALUES (%(kind)s, %(reference)s, %(booking_id)s)
    ON CONFLICT (reference) DO NOTHING
    RETURNING transaction_id
)
INSERT INTO ledger_postings (transaction_id, account, owner, currency, amount_minor)
SELECT transaction_id, account, owner, %(currency)s, amount
FROM written, unnest(%(accounts)s::text[], %(owners)s::uuid[], %(amounts)s::bigint[]) AS line (account, owner, amount)
RETURNING posting_id

-- name: take_balance
SELECT balance_minor FROM ledger_balances
WHERE account = %(account)s AND owner = %(owner)s AND currency = %(currency)s
FOR NO KEY UPDATE
