CREATE TABLE devices (
    device_id text PRIMARY KEY CHECK (device_id ~ '^[0-9a-f]{32}$'),
    platform text CHECK (length(platform) <= 64),
    app_version text CHECK (length(app_version) <= 64),
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz,
    may_push boolean NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE devices IS 'Installs of the app; the id never reaches the log or the lake, only its pseudonyms do';
COMMENT ON COLUMN devices.may_push IS 'not revoked, and the latest location_analytics consent is granted';
CREATE INDEX devices_changed_at ON devices (changed_at);
CREATE INDEX devices_denied ON devices (device_id) WHERE NOT may_push;

CREATE TABLE consents (
    consent_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id text NOT NULL REFERENCES devices,
    purpose text NOT NULL CHECK (purpose ~ '^[a-z_]{1,40}$'),
    granted boolean NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE consents IS 'Every answer a person gave, by purpose; the latest counts, none is ever changed';
CREATE INDEX consents_latest ON consents (device_id, purpose, consent_id DESC);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER consents_append_only BEFORE UPDATE ON consents FOR EACH ROW EXECUTE FUNCTION refuse_change();
