CREATE TABLE host_earnings (
    earning_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants,
    booking_id uuid NOT NULL REFERENCES bookings,
    kind text NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    price_minor bigint NOT NULL,
    amount_minor bigint NOT NULL,
    due_at timestamptz NOT NULL,
    payout_id uuid
);
COMMENT ON TABLE host_earnings IS 'What host_payable is made of; below zero where a dispute takes back. A payout takes each once';
COMMENT ON COLUMN host_earnings.price_minor IS 'before the platform''s fee';
CREATE INDEX host_earnings_unpaid ON host_earnings (tenant_id, currency) WHERE payout_id IS NULL;
CREATE INDEX host_earnings_payout ON host_earnings (payout_id) WHERE payout_id IS NOT NULL;

CREATE TABLE bank_accounts (
    tenant_id uuid PRIMARY KEY REFERENCES tenants,
    bank_code text NOT NULL CHECK (bank_code ~ '^[A-Z0-9]{3,11}$'),
    account_number text NOT NULL CHECK (account_number ~ '^[0-9]{6,20}$'),
    account_name text NOT NULL CHECK (length(account_name) BETWEEN 1 AND 100),
    usable_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN bank_accounts.usable_at IS '72 h after a change, so that its owner can object before money goes there';

CREATE TABLE payouts (
    payout_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    reference text NOT NULL UNIQUE,
    tenant_id uuid REFERENCES tenants,
    person_id uuid REFERENCES people,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    gross_minor bigint NOT NULL CHECK (gross_minor > 0),
    withheld_minor bigint NOT NULL DEFAULT 0 CHECK (withheld_minor BETWEEN 0 AND gross_minor),
    amount_minor bigint GENERATED ALWAYS AS (gross_minor - withheld_minor) STORED,
    rail text NOT NULL CHECK (rail IN ('instapay', 'pesonet')),
    bank_code text NOT NULL,
    account_number text NOT NULL,
    account_name text NOT NULL,
    status text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'approved', 'sent', 'paid', 'failed', 'dropped')),
    statement jsonb NOT NULL DEFAULT '[]',
    drafted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    approved_by uuid REFERENCES people,
    sent_at timestamptz,
    settled_at timestamptz,
    failure text,
    CONSTRAINT payouts_one_payee CHECK ((tenant_id IS NULL) <> (person_id IS NULL))
);
COMMENT ON TABLE payouts IS 'Transfers to banks: what hosts have earned, and credit that drivers asked back';
CREATE UNIQUE INDEX payouts_one_under_way ON payouts (tenant_id, currency)
    WHERE status IN ('draft', 'approved', 'sent') AND tenant_id IS NOT NULL;
CREATE INDEX payouts_status ON payouts (status, drafted_at);
ALTER TABLE host_earnings ADD FOREIGN KEY (payout_id) REFERENCES payouts;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['host_earnings', 'bank_accounts', 'payouts'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO parkpal_desk', name);
        EXECUTE format('CREATE POLICY desk ON %I TO parkpal_desk USING (true)', name);
        EXECUTE format('GRANT SELECT ON %I TO parkpal_app', name);
        EXECUTE format('CREATE POLICY own ON %I FOR SELECT TO parkpal_app USING (tenant_id = acting_tenant())', name);
    END LOOP;
END $$;
CREATE POLICY own_credit ON payouts FOR SELECT TO parkpal_app USING (person_id = acting_person());
