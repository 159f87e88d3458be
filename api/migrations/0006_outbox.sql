CREATE TABLE outbox (
    message_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    channel text NOT NULL CHECK (channel IN ('email', 'sms')),
    recipient text NOT NULL,
    template text NOT NULL,
    locale text NOT NULL,
    fields jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    error text
);
COMMENT ON TABLE outbox IS 'Messages written with what causes them; the relay sends each at least once, then deletes it';
CREATE INDEX outbox_due_at ON outbox (due_at);
ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox FORCE ROW LEVEL SECURITY;
GRANT INSERT ON outbox TO parkpal_auth, parkpal_app;
CREATE POLICY put ON outbox FOR INSERT TO parkpal_auth, parkpal_app WITH CHECK (true);
GRANT SELECT, UPDATE, DELETE ON outbox TO parkpal_auth;
CREATE POLICY relay ON outbox TO parkpal_auth USING (true);
