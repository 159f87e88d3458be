-- The ledger of double entry. Nothing in it is ever changed: nobody is granted it, and a trigger refuses it besides.
CREATE TABLE ledger_transactions (
    transaction_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reference text NOT NULL UNIQUE CHECK (length(reference) BETWEEN 1 AND 200),
    kind text NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
    booking_id uuid REFERENCES bookings,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN ledger_transactions.reference IS 'what it books, by name: the same event is booked once';
CREATE INDEX ledger_transactions_booking ON ledger_transactions (booking_id, transaction_id);

CREATE TABLE ledger_accounts (
    account text PRIMARY KEY,
    class text NOT NULL,
    owned boolean NOT NULL
);
COMMENT ON TABLE ledger_accounts IS 'Every account there is; a test holds it to api.payments.postings';
COMMENT ON COLUMN ledger_accounts.owned IS 'whether each owner has a balance of it, which never falls below zero';
INSERT INTO ledger_accounts VALUES
    ('captured', 'source', false), ('platform_cost', 'source', false),
    ('unallocated', 'unallocated', true), ('held', 'held', true),
    ('host_payable', 'earned', false), ('platform_fee', 'earned', false),
    ('paid_out', 'earned', false), ('withheld', 'earned', false),
    ('provider_fee', 'cost', false),
    ('refund_due', 'refund due', true), ('refunded', 'refunded', false),
    ('credit', 'credit', true), ('credit_given', 'credit', true),
    ('disputed', 'disputed', true);

CREATE TABLE ledger_postings (
    posting_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_id bigint NOT NULL REFERENCES ledger_transactions,
    account text NOT NULL REFERENCES ledger_accounts,
    owner uuid,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (amount_minor <> 0)
);
COMMENT ON COLUMN ledger_postings.owner IS 'a booking (unallocated, held, refund_due, disputed), a person (credit), a tenant (host_payable)';
CREATE INDEX ledger_postings_transaction ON ledger_postings (transaction_id);
CREATE INDEX ledger_postings_account ON ledger_postings (account, owner, posting_id);

CREATE TABLE ledger_balances (
    account text NOT NULL REFERENCES ledger_accounts,
    owner uuid NOT NULL,
    currency text NOT NULL,
    balance_minor bigint NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (account, owner, currency),
    CONSTRAINT ledger_balances_not_below_zero CHECK (balance_minor >= 0)
);
COMMENT ON TABLE ledger_balances IS 'The sum of the postings of each owned account, kept by a trigger: whoever takes from it holds its row';
CREATE INDEX ledger_balances_waiting ON ledger_balances (account, changed_at)
    WHERE account IN ('unallocated', 'refund_due') AND balance_minor > 0;

CREATE FUNCTION keep_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT owned FROM ledger_accounts WHERE account = NEW.account) THEN
        -- A debit must find its row: an insert of a negative balance would break the CHECK before it could conflict.
        UPDATE ledger_balances
        SET balance_minor = balance_minor + NEW.amount_minor, changed_at = clock_timestamp()
        WHERE account = NEW.account AND owner = NEW.owner AND currency = NEW.currency;
        IF NOT FOUND THEN
            INSERT INTO ledger_balances AS kept (account, owner, currency, balance_minor)
            VALUES (NEW.account, NEW.owner, NEW.currency, NEW.amount_minor)
            ON CONFLICT (account, owner, currency) DO UPDATE
                SET balance_minor = kept.balance_minor + NEW.amount_minor, changed_at = clock_timestamp();
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER ledger_postings_balance AFTER INSERT ON ledger_postings FOR EACH ROW EXECUTE FUNCTION keep_balance();

-- Deferred to the commit, when the transaction may act as somebody who sees a part of the postings: hence the role.
CREATE FUNCTION check_zero_sum() RETURNS trigger LANGUAGE plpgsql SET role = 'parkpal_desk' AS $$
BEGIN
    IF EXISTS (
        SELECT FROM ledger_postings WHERE transaction_id = NEW.transaction_id
        GROUP BY currency HAVING sum(amount_minor) <> 0
    ) THEN
        RAISE EXCEPTION 'ledger transaction % does not sum to zero', NEW.transaction_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_sums_to_zero';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_sums_to_zero AFTER INSERT ON ledger_postings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_zero_sum();

CREATE TRIGGER ledger_transactions_append_only BEFORE UPDATE OR DELETE ON ledger_transactions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_postings_append_only BEFORE UPDATE OR DELETE ON ledger_postings
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_transactions_not_emptied BEFORE TRUNCATE ON ledger_transactions EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_postings_not_emptied BEFORE TRUNCATE ON ledger_postings EXECUTE FUNCTION refuse_change();

ALTER TABLE ledger_transactions ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger_postings ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger_balances ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger_transactions FORCE ROW LEVEL SECURITY;
ALTER TABLE ledger_postings FORCE ROW LEVEL SECURITY;
ALTER TABLE ledger_balances FORCE ROW LEVEL SECURITY;
GRANT SELECT ON ledger_accounts TO parkpal_desk, parkpal_app;
GRANT SELECT, INSERT ON ledger_transactions, ledger_postings TO parkpal_desk;
GRANT SELECT, INSERT, UPDATE ON ledger_balances TO parkpal_desk;
CREATE POLICY desk_reads ON ledger_transactions FOR SELECT TO parkpal_desk USING (true);
CREATE POLICY desk_books ON ledger_transactions FOR INSERT TO parkpal_desk WITH CHECK (true);
CREATE POLICY desk_reads ON ledger_postings FOR SELECT TO parkpal_desk USING (true);
CREATE POLICY desk_books ON ledger_postings FOR INSERT TO parkpal_desk WITH CHECK (true);
CREATE POLICY desk ON ledger_balances TO parkpal_desk USING (true);
-- A person sees their credit, and how it came about.
GRANT SELECT ON ledger_transactions, ledger_postings, ledger_balances TO parkpal_app;
CREATE POLICY own ON ledger_balances FOR SELECT TO parkpal_app USING (owner = acting_person());
CREATE POLICY own ON ledger_postings FOR SELECT TO parkpal_app USING (owner = acting_person());
CREATE POLICY own ON ledger_transactions FOR SELECT TO parkpal_app USING (
    EXISTS (SELECT FROM ledger_postings p WHERE p.transaction_id = ledger_transactions.transaction_id)
);
