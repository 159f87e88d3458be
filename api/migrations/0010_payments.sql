CREATE TABLE charges (
    charge_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    booking_id uuid NOT NULL REFERENCES bookings,
    driver_id uuid NOT NULL REFERENCES people,
    kind text NOT NULL CHECK (kind IN ('stay', 'overstay')),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'paid', 'waived')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE charges IS 'What a driver owes beyond what was paid: a walk-up''s stay, an overstay';
CREATE INDEX charges_open ON charges (booking_id) WHERE status = 'open';

CREATE TABLE payments (
    payment_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    booking_id uuid NOT NULL REFERENCES bookings,
    driver_id uuid NOT NULL REFERENCES people,
    charge_id uuid REFERENCES charges,
    provider text NOT NULL CHECK (provider IN ('paymongo', 'stripe', 'credit')),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    status text NOT NULL CHECK (status IN ('creating', 'open', 'paid', 'closed', 'failed')),
    checkout_id text,
    checkout_url text,
    closes_at timestamptz NOT NULL,
    failure text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    look_at timestamptz NOT NULL DEFAULT clock_timestamp() + interval '1 minute',
    CONSTRAINT payments_open_has_checkout CHECK (status <> 'open' OR (checkout_id IS NOT NULL AND checkout_url IS NOT NULL)),
    UNIQUE (provider, checkout_id)
);
COMMENT ON TABLE payments IS 'Checkouts; payment_id is our reference at the provider, written before the provider is asked';
COMMENT ON COLUMN payments.look_at IS 'when the provider is asked next how it stands, though nothing was heard of it';
CREATE UNIQUE INDEX payments_one_open ON payments (booking_id) WHERE status IN ('creating', 'open');
CREATE INDEX payments_look_at ON payments (look_at) WHERE status IN ('creating', 'open');
CREATE INDEX payments_booking ON payments (booking_id, created_at);

CREATE TABLE captures (
    capture_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    payment_id uuid NOT NULL REFERENCES payments,
    booking_id uuid NOT NULL REFERENCES bookings,
    driver_id uuid NOT NULL REFERENCES people,
    charge_id uuid REFERENCES charges,
    provider text NOT NULL,
    provider_ref text NOT NULL,
    rail text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    fee_minor bigint NOT NULL DEFAULT 0 CHECK (fee_minor >= 0),
    back_minor bigint NOT NULL DEFAULT 0,
    credit_given_minor bigint NOT NULL DEFAULT 0,
    allocation text NOT NULL DEFAULT 'none' CHECK (allocation IN ('none', 'held', 'returned')),
    captured_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (provider, provider_ref),
    CONSTRAINT captures_back_not_more CHECK (back_minor BETWEEN 0 AND amount_minor)
);
COMMENT ON TABLE captures IS 'Money that a provider took for us, each once however often it is told of';
COMMENT ON COLUMN captures.booking_id IS 'whose money it is now: after a late payment the booking that replaces the lost one';
COMMENT ON COLUMN captures.back_minor IS 'what of it is on its way back, or is back: refunds, credit, lost disputes';
COMMENT ON COLUMN captures.credit_given_minor IS 'of a capture of credit, how much of it never was the driver''s money';
CREATE UNIQUE INDEX captures_one_held ON captures (booking_id) WHERE allocation = 'held' AND charge_id IS NULL;
CREATE INDEX captures_booking ON captures (booking_id);
CREATE INDEX captures_unallocated ON captures (recorded_at) WHERE allocation = 'none';

CREATE TABLE refunds (
    refund_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    capture_id uuid NOT NULL REFERENCES captures,
    booking_id uuid NOT NULL REFERENCES bookings,
    driver_id uuid NOT NULL REFERENCES people,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    way text NOT NULL CHECK (way IN ('rail', 'credit')),
    status text NOT NULL CHECK (status IN ('due', 'sent', 'done', 'failed')),
    reason text NOT NULL CHECK (length(reason) <= 400),
    provider_ref text,
    failure text,
    tries integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE refunds IS 'Money on its way back; refund_id is our reference at the provider';
CREATE INDEX refunds_due ON refunds (due_at) WHERE status IN ('due', 'sent');
CREATE INDEX refunds_booking ON refunds (booking_id);

CREATE TABLE refund_requests (
    request_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    booking_id uuid NOT NULL REFERENCES bookings,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 400),
    status text NOT NULL CHECK (status IN ('waiting', 'done', 'refused')),
    asked_by uuid NOT NULL REFERENCES people,
    decided_by uuid REFERENCES people,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT refund_requests_two_people CHECK (decided_by <> asked_by)
);
COMMENT ON TABLE refund_requests IS 'Refunds that people decide; above the limit a second one does';

CREATE TABLE disputes (
    dispute_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    capture_id uuid NOT NULL REFERENCES captures,
    booking_id uuid NOT NULL REFERENCES bookings,
    provider_ref text NOT NULL UNIQUE,
    currency text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0),
    from_held_minor bigint NOT NULL CHECK (from_held_minor BETWEEN 0 AND amount_minor),
    earn_later_minor bigint NOT NULL DEFAULT 0,
    refund_later_minor bigint NOT NULL DEFAULT 0,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'won', 'lost')),
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz
);
COMMENT ON COLUMN disputes.earn_later_minor IS 'what a stay earned while its money was frozen; booked if the dispute is won';
CREATE INDEX disputes_booking ON disputes (booking_id);

CREATE TABLE webhook_events (
    provider text NOT NULL,
    event_id text NOT NULL CHECK (length(event_id) BETWEEN 1 AND 200),
    kind text NOT NULL CHECK (length(kind) <= 200),
    checkout_id text NOT NULL,
    capture_id text NOT NULL,
    refund_id text NOT NULL,
    fresh boolean NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    tries integer NOT NULL DEFAULT 0,
    done_at timestamptz,
    PRIMARY KEY (provider, event_id)
);
COMMENT ON TABLE webhook_events IS 'What providers announced: ids alone, since the state is read from the provider and a body names people';
CREATE INDEX webhook_events_due ON webhook_events (due_at) WHERE done_at IS NULL;

CREATE TABLE money_jobs (
    job text PRIMARY KEY,
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ran_at timestamptz
);
COMMENT ON TABLE money_jobs IS 'When each repeated job runs next, in whichever process takes it first';
INSERT INTO money_jobs (job) VALUES ('reconcile:paymongo'), ('reconcile:stripe'), ('draft_payouts');

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'charges', 'payments', 'captures', 'refunds', 'refund_requests', 'disputes', 'webhook_events', 'money_jobs'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO parkpal_desk', name);
        EXECUTE format('CREATE POLICY desk ON %I TO parkpal_desk USING (true)', name);
    END LOOP;
END $$;
GRANT DELETE ON webhook_events TO parkpal_desk;
GRANT SELECT ON charges, payments, captures, refunds TO parkpal_app;
CREATE POLICY own ON charges FOR SELECT TO parkpal_app USING (driver_id = acting_person());
CREATE POLICY own ON payments FOR SELECT TO parkpal_app USING (driver_id = acting_person());
CREATE POLICY own ON captures FOR SELECT TO parkpal_app USING (driver_id = acting_person());
CREATE POLICY own ON refunds FOR SELECT TO parkpal_app USING (driver_id = acting_person());
