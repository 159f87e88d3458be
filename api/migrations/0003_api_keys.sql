CREATE TABLE api_keys (
    key_id text PRIMARY KEY CHECK (key_id ~ '^[0-9a-f]{16}$'),
    secret_hash bytea NOT NULL CHECK (length(secret_hash) = 32),
    name text NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz
);
COMMENT ON COLUMN api_keys.secret_hash IS 'SHA-256 of a secret of 256 random bits; the secret itself is nowhere';
