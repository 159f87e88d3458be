-- Unlogged: after a crash of the database everyone starts with a full allowance, and nothing else is lost.
CREATE UNLOGGED TABLE rate_limits (
    scope text NOT NULL,
    subject bytea NOT NULL,
    free_at timestamptz NOT NULL,
    PRIMARY KEY (scope, subject)
);
COMMENT ON TABLE rate_limits IS 'One row per scope and keyed hash of who asks; free_at is when its allowance is whole again';
CREATE INDEX rate_limits_free_at ON rate_limits (free_at);
