-- Where a person's phones are reached: a token is of one install, and of whoever registered it last.
CREATE TABLE push_tokens (
    token text PRIMARY KEY CHECK (length(token) <= 4096 AND token ~ '^[A-Za-z0-9_:.-]+$'),
    person_id uuid NOT NULL REFERENCES people,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX push_tokens_person ON push_tokens (person_id, registered_at DESC);
ALTER TABLE push_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE push_tokens FORCE ROW LEVEL SECURITY;
-- The relay removes what is dead; a token that another person had is taken over before it is known whose it was.
GRANT SELECT, INSERT, UPDATE, DELETE ON push_tokens TO parkpal_auth;
CREATE POLICY auth ON push_tokens TO parkpal_auth USING (true);
GRANT SELECT, DELETE ON push_tokens TO parkpal_app;
CREATE POLICY own ON push_tokens TO parkpal_app USING (person_id = acting_person());
GRANT SELECT ON push_tokens TO parkpal_desk;
CREATE POLICY desk ON push_tokens FOR SELECT TO parkpal_desk USING (true);

ALTER TABLE outbox DROP CONSTRAINT outbox_channel_check;
ALTER TABLE outbox ADD CONSTRAINT outbox_channel_check CHECK (channel IN ('email', 'sms', 'push'));
