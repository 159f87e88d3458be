-- A monthly pass is so many bookings, made together or not at all: what decides between rivals for them is the same.
CREATE TABLE passes (
    pass_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants,
    place_id uuid NOT NULL REFERENCES places,
    driver_id uuid NOT NULL REFERENCES people,
    plate text NOT NULL,
    vehicle_kind text NOT NULL CHECK (vehicle_kind IN ('car', 'motorcycle', 'van')),
    month date NOT NULL CHECK (extract(day FROM month) = 1),
    hours jsonb NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    price_minor bigint NOT NULL CHECK (price_minor >= 0),
    issued_by uuid NOT NULL REFERENCES people,
    issued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    end_reason text NOT NULL DEFAULT '' CHECK (length(end_reason) <= 400)
);
COMMENT ON TABLE passes IS 'Passes for a calendar month, local to the place; hours as in opening_hours, none: all of the month';
CREATE INDEX passes_tenant ON passes (tenant_id, month);
CREATE INDEX passes_driver ON passes (driver_id, month);
ALTER TABLE passes ENABLE ROW LEVEL SECURITY;
ALTER TABLE passes FORCE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE ON passes TO parkpal_desk;
CREATE POLICY desk ON passes TO parkpal_desk USING (true);
GRANT SELECT ON passes TO parkpal_app;
CREATE POLICY own ON passes FOR SELECT TO parkpal_app USING (driver_id = acting_person() OR tenant_id = acting_tenant());

ALTER TABLE bookings ADD COLUMN pass_id uuid REFERENCES passes;
COMMENT ON COLUMN bookings.pass_id IS 'the pass that this booking is a part of; whoever leaves and comes back within its hours gets another';
CREATE INDEX bookings_pass ON bookings (pass_id) WHERE pass_id IS NOT NULL;
