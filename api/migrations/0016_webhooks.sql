-- Webhooks out. A delivery is written by the change that it tells of, in its transaction.
CREATE TABLE webhook_endpoints (
    endpoint_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenants,
    url text NOT NULL CHECK (length(url) <= 2000),
    kinds text[] NOT NULL CHECK (
        cardinality(kinds) > 0 AND kinds <@ '{booking.held,booking.reserved,booking.active,booking.overstay,
            booking.fulfilled,booking.canceled,booking.expired,booking.no_show}'
    ),
    sealed_secret bytea NOT NULL,
    sealed_former bytea,
    former_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    failing_since timestamptz,
    disabled_at timestamptz,
    CONSTRAINT webhook_endpoints_former CHECK ((sealed_former IS NULL) = (former_until IS NULL))
);
COMMENT ON COLUMN webhook_endpoints.sealed_secret IS 'encrypted; what signs must be known, a hash would not do';
COMMENT ON COLUMN webhook_endpoints.failing_since IS 'the first failure since the last delivery that was taken';
CREATE INDEX webhook_endpoints_tenant ON webhook_endpoints (tenant_id);

CREATE TABLE webhook_deliveries (
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    event_id uuid NOT NULL,
    tenant_id uuid NOT NULL REFERENCES tenants,
    kind text NOT NULL,
    occurred_at timestamptz NOT NULL,
    data jsonb NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz DEFAULT clock_timestamp(),
    outcome text NOT NULL DEFAULT 'waiting' CHECK (outcome IN ('waiting', 'taken', 'given_up')),
    answer text NOT NULL DEFAULT '' CHECK (length(answer) <= 200),
    PRIMARY KEY (endpoint_id, event_id),
    CONSTRAINT webhook_deliveries_due CHECK ((outcome = 'waiting') = (due_at IS NOT NULL))
);
COMMENT ON COLUMN webhook_deliveries.answer IS 'the last one: a status, or why there was none';
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE outcome = 'waiting';
CREATE INDEX webhook_deliveries_occurred ON webhook_deliveries (endpoint_id, occurred_at DESC);

CREATE FUNCTION tell_webhooks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.from_status IS DISTINCT FROM NEW.to_status THEN
        INSERT INTO webhook_deliveries (endpoint_id, event_id, tenant_id, kind, occurred_at, data)
        SELECT e.endpoint_id, md5('booking_history ' || NEW.entry_id)::uuid, e.tenant_id,
            'booking.' || lower(NEW.to_status), NEW.at,
            jsonb_build_object(
                'booking_id', NEW.booking_id, 'place_id', NEW.place_id, 'status', NEW.to_status,
                'starts_at', lower(NEW.during), 'ends_at', upper(NEW.during)
            )
        FROM bookings b JOIN webhook_endpoints e USING (tenant_id)
        WHERE b.booking_id = NEW.booking_id AND e.disabled_at IS NULL
            AND 'booking.' || lower(NEW.to_status) = ANY (e.kinds);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER booking_history_told AFTER INSERT ON booking_history
    FOR EACH ROW EXECUTE FUNCTION tell_webhooks();

ALTER TABLE webhook_endpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_endpoints FORCE ROW LEVEL SECURITY;
ALTER TABLE webhook_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_deliveries FORCE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_endpoints TO parkpal_app;
GRANT SELECT, UPDATE ON webhook_deliveries TO parkpal_app;
CREATE POLICY own ON webhook_endpoints TO parkpal_app USING (tenant_id = acting_tenant());
CREATE POLICY own ON webhook_deliveries TO parkpal_app USING (tenant_id = acting_tenant());
GRANT SELECT, UPDATE (failing_since, disabled_at) ON webhook_endpoints TO parkpal_desk;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_deliveries TO parkpal_desk;
CREATE POLICY desk ON webhook_endpoints TO parkpal_desk USING (true);
CREATE POLICY desk ON webhook_deliveries TO parkpal_desk USING (true);
