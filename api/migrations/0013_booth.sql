-- What attendants do at a lot: count vehicles, take cash, close the day. What belongs to a closed day is never changed.
CREATE TABLE day_closes (
    lot_id uuid NOT NULL REFERENCES places (place_id),
    day date NOT NULL,
    tenant_id uuid NOT NULL REFERENCES tenants,
    closed_by uuid NOT NULL REFERENCES people,
    closed_at timestamptz NOT NULL,
    report jsonb NOT NULL,
    PRIMARY KEY (lot_id, day)
);
COMMENT ON TABLE day_closes IS 'Days of a lot, by its local calendar, of which nothing changes any more; what comes later belongs to the next';
CREATE TRIGGER day_closes_append_only BEFORE UPDATE OR DELETE ON day_closes
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE gate_counts (
    count_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    lot_id uuid NOT NULL REFERENCES places (place_id),
    tenant_id uuid NOT NULL REFERENCES tenants,
    day date NOT NULL,
    counted_by uuid NOT NULL REFERENCES people,
    counted_at timestamptz NOT NULL,
    entered integer NOT NULL CHECK (entered BETWEEN 0 AND 100000),
    departed integer NOT NULL CHECK (departed BETWEEN 0 AND 100000),
    standing integer CHECK (standing BETWEEN 0 AND 100000),
    CONSTRAINT gate_counts_say_something CHECK (entered + departed > 0 OR standing IS NOT NULL)
);
COMMENT ON COLUMN gate_counts.standing IS 'vehicles found in the lot after these entered and departed, where somebody counted them anew';
CREATE INDEX gate_counts_lot ON gate_counts (lot_id, counted_at);
CREATE TRIGGER gate_counts_append_only BEFORE UPDATE OR DELETE ON gate_counts
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

ALTER TABLE payments DROP CONSTRAINT payments_provider_check;
ALTER TABLE payments ADD CONSTRAINT payments_provider_check CHECK (provider IN ('paymongo', 'stripe', 'credit', 'cash'));

CREATE UNIQUE INDEX payments_cash_once ON payments (charge_id) WHERE provider = 'cash';

CREATE TABLE cash_takings (
    payment_id uuid PRIMARY KEY REFERENCES payments,
    lot_id uuid NOT NULL REFERENCES places (place_id),
    tenant_id uuid NOT NULL REFERENCES tenants,
    day date NOT NULL,
    taken_by uuid NOT NULL REFERENCES people,
    taken_at timestamptz NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor bigint NOT NULL CHECK (amount_minor > 0)
);
COMMENT ON TABLE cash_takings IS 'Cash that an attendant took for a booking, and in whose drawer it lies; lot_id may be a single space';
CREATE INDEX cash_takings_lot ON cash_takings (lot_id, day);
CREATE TRIGGER cash_takings_append_only BEFORE UPDATE OR DELETE ON cash_takings
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Whoever closes a day waits for those who still write into it, and they for whoever closes it.
CREATE FUNCTION refuse_closed_day() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('day:' || NEW.lot_id::text, 0));
    IF EXISTS (SELECT FROM day_closes WHERE lot_id = NEW.lot_id AND day >= NEW.day) THEN
        RAISE EXCEPTION 'day % of this lot is closed', NEW.day
            USING ERRCODE = 'check_violation', CONSTRAINT = 'day_is_open';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER gate_counts_day BEFORE INSERT ON gate_counts FOR EACH ROW EXECUTE FUNCTION refuse_closed_day();
CREATE TRIGGER cash_takings_day BEFORE INSERT ON cash_takings FOR EACH ROW EXECUTE FUNCTION refuse_closed_day();
CREATE FUNCTION refuse_earlier_day() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('day:' || NEW.lot_id::text, 0));
    IF EXISTS (SELECT FROM day_closes WHERE lot_id = NEW.lot_id AND day >= NEW.day) THEN
        RAISE EXCEPTION 'day % of this lot is closed', NEW.day
            USING ERRCODE = 'check_violation', CONSTRAINT = 'day_is_open';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER day_closes_in_order BEFORE INSERT ON day_closes FOR EACH ROW EXECUTE FUNCTION refuse_earlier_day();

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['day_closes', 'gate_counts', 'cash_takings'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO parkpal_desk', name);
        EXECUTE format('CREATE POLICY desk ON %I TO parkpal_desk USING (true)', name);
        EXECUTE format('GRANT SELECT, INSERT ON %I TO parkpal_app', name);
        EXECUTE format('CREATE POLICY own ON %I TO parkpal_app USING (tenant_id = acting_tenant())', name);
    END LOOP;
END $$;

-- A driver who is late says until when they will come.
ALTER TABLE bookings ADD COLUMN arrives_at timestamptz;
COMMENT ON COLUMN bookings.arrives_at IS 'when a driver who runs late expects to come';
