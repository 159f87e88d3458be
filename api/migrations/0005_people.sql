-- Row-level security stands on two roles that nobody signs in as; a transaction takes one with SET LOCAL ROLE.
-- parkpal_auth works before it is known who asks; parkpal_app acts for one person, perhaps within one tenant.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['parkpal_auth', 'parkpal_app'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- roles belong to the server: another database of it has made this one
        END;
        EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA public TO parkpal_auth, parkpal_app;

CREATE FUNCTION acting_person() RETURNS uuid LANGUAGE sql STABLE
    RETURN nullif(current_setting('parkpal.person', true), '')::uuid;
CREATE FUNCTION acting_tenant() RETURNS uuid LANGUAGE sql STABLE
    RETURN nullif(current_setting('parkpal.tenant', true), '')::uuid;

CREATE TABLE tenants (
    tenant_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind text NOT NULL CHECK (kind IN ('platform', 'operator', 'host')),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (tenant_id, kind)
);
COMMENT ON TABLE tenants IS 'Who owns what: the platform itself, operators of lots, and hosts of single spaces';
CREATE UNIQUE INDEX tenants_one_platform ON tenants (kind) WHERE kind = 'platform';
INSERT INTO tenants (kind, name) VALUES ('platform', 'ParkPal');

CREATE TABLE people (
    person_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text UNIQUE CHECK (length(email) <= 254),
    phone text UNIQUE CHECK (phone ~ '^\+[0-9]{6,15}$'),
    password_hash text,
    name text NOT NULL CHECK (length(name) <= 100),
    locale text NOT NULL DEFAULT 'en' CHECK (locale IN ('en', 'fil')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    erased_at timestamptz,
    CONSTRAINT people_reachable CHECK (erased_at IS NOT NULL OR email IS NOT NULL OR phone IS NOT NULL),
    CONSTRAINT people_erased CHECK (
        erased_at IS NULL OR (email IS NULL AND phone IS NULL AND password_hash IS NULL AND name = '')
    )
);
COMMENT ON TABLE people IS 'Accounts; a contact stands here only once it was confirmed by a code';
COMMENT ON COLUMN people.erased_at IS 'the row stays, without anything that tells who it was, for ledgers to point at';

CREATE TABLE codes (
    code_id uuid PRIMARY KEY,
    purpose text NOT NULL CHECK (purpose IN ('sign_up', 'reset', 'contact')),
    contact text NOT NULL,
    code_hash bytea NOT NULL,
    payload jsonb NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL,
    UNIQUE (purpose, contact)
);
COMMENT ON TABLE codes IS 'One-time codes under way; a newer one for the same purpose and contact takes the place of an older';
CREATE INDEX codes_expires_at ON codes (expires_at);

CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    family_id uuid NOT NULL,
    person_id uuid NOT NULL REFERENCES people,
    issued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    revoked_at timestamptz
);
COMMENT ON TABLE refresh_tokens IS 'Each is good once; a second use ends its family, which is one sign-in';
CREATE INDEX refresh_tokens_family ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_person ON refresh_tokens (person_id);
CREATE INDEX refresh_tokens_expires_at ON refresh_tokens (expires_at);

CREATE TABLE memberships (
    tenant_id uuid NOT NULL,
    person_id uuid NOT NULL REFERENCES people,
    role text NOT NULL,
    tenant_kind text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, person_id, role),
    FOREIGN KEY (tenant_id, tenant_kind) REFERENCES tenants (tenant_id, kind),
    CONSTRAINT memberships_role_of_kind CHECK (
        (tenant_kind = 'platform' AND role IN ('support', 'platform_admin'))
        OR (tenant_kind = 'operator' AND role IN ('attendant', 'operator_analyst', 'operator_admin'))
        OR (tenant_kind = 'host' AND role IN ('host', 'attendant'))
    )
);
COMMENT ON TABLE memberships IS 'What a person may do within a tenant; every person is a driver besides';
CREATE INDEX memberships_person ON memberships (person_id);

CREATE TABLE person_consents (
    consent_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person_id uuid NOT NULL REFERENCES people,
    purpose text NOT NULL CHECK (purpose ~ '^[a-z_]{1,40}$'),
    granted boolean NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX person_consents_latest ON person_consents (person_id, purpose, consent_id DESC);
CREATE TRIGGER person_consents_append_only BEFORE UPDATE OR DELETE ON person_consents
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE vehicles (
    vehicle_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    person_id uuid NOT NULL REFERENCES people,
    plate text NOT NULL CHECK (plate ~ '^[A-Z0-9]{2,12}$'),
    kind text NOT NULL CHECK (kind IN ('car', 'motorcycle', 'van')),
    length_cm integer CHECK (length_cm BETWEEN 100 AND 2000),
    width_cm integer CHECK (width_cm BETWEEN 40 AND 400),
    height_cm integer CHECK (height_cm BETWEEN 50 AND 500),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (person_id, plate)
);

CREATE TABLE person_devices (
    device_id text PRIMARY KEY REFERENCES devices,
    person_id uuid NOT NULL REFERENCES people,
    linked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE person_devices IS 'Whose installs the app runs on, so that export and erasure of an account reach their events';
CREATE INDEX person_devices_person ON person_devices (person_id);

CREATE TABLE erasure_requests (
    device_id text PRIMARY KEY REFERENCES devices,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at timestamptz
);
COMMENT ON TABLE erasure_requests IS 'Devices whose events are to leave log and lake: parkpal lake erase --requested';

CREATE TABLE audit_entries (
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor uuid,
    tenant_id uuid REFERENCES tenants,
    action text NOT NULL CHECK (action ~ '^[a-z_.]{1,60}$'),
    details jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE audit_entries IS 'Who changed roles, money rules and the like; actor is null for the command line';
CREATE INDEX audit_entries_tenant ON audit_entries (tenant_id, entry_id);
CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE ON audit_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
ALTER TABLE codes ENABLE ROW LEVEL SECURITY;
ALTER TABLE refresh_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE memberships ENABLE ROW LEVEL SECURITY;
ALTER TABLE person_consents ENABLE ROW LEVEL SECURITY;
ALTER TABLE vehicles ENABLE ROW LEVEL SECURITY;
ALTER TABLE person_devices ENABLE ROW LEVEL SECURITY;
ALTER TABLE erasure_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
ALTER TABLE people FORCE ROW LEVEL SECURITY;
ALTER TABLE codes FORCE ROW LEVEL SECURITY;
ALTER TABLE refresh_tokens FORCE ROW LEVEL SECURITY;
ALTER TABLE memberships FORCE ROW LEVEL SECURITY;
ALTER TABLE person_consents FORCE ROW LEVEL SECURITY;
ALTER TABLE vehicles FORCE ROW LEVEL SECURITY;
ALTER TABLE person_devices FORCE ROW LEVEL SECURITY;
ALTER TABLE erasure_requests FORCE ROW LEVEL SECURITY;
ALTER TABLE audit_entries FORCE ROW LEVEL SECURITY;

-- Before it is known who asks: contacts, codes, tokens, and the roles that go into a token.
GRANT SELECT, INSERT, UPDATE ON people TO parkpal_auth;
GRANT SELECT, INSERT, UPDATE, DELETE ON codes TO parkpal_auth;
GRANT SELECT, INSERT, UPDATE, DELETE ON refresh_tokens TO parkpal_auth;
GRANT SELECT ON memberships, tenants TO parkpal_auth;
GRANT INSERT ON person_consents TO parkpal_auth;
CREATE POLICY auth ON people TO parkpal_auth USING (true);
CREATE POLICY auth ON codes TO parkpal_auth USING (true);
CREATE POLICY auth ON refresh_tokens TO parkpal_auth USING (true);
CREATE POLICY auth ON memberships FOR SELECT TO parkpal_auth USING (true);
CREATE POLICY auth ON tenants FOR SELECT TO parkpal_auth USING (true);
CREATE POLICY auth ON person_consents FOR INSERT TO parkpal_auth WITH CHECK (true);

-- A person sees and changes what is theirs; within a tenant, what is the tenant's.
GRANT SELECT, UPDATE (email, phone, password_hash, name, locale, erased_at) ON people TO parkpal_app;
GRANT SELECT, UPDATE (revoked_at) ON refresh_tokens TO parkpal_app;
GRANT SELECT, INSERT, DELETE ON memberships TO parkpal_app;
GRANT SELECT, INSERT ON tenants TO parkpal_app;
GRANT SELECT, INSERT ON person_consents TO parkpal_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON vehicles TO parkpal_app;
GRANT SELECT, INSERT, DELETE ON person_devices TO parkpal_app;
GRANT SELECT, INSERT ON erasure_requests TO parkpal_app;
GRANT SELECT, INSERT ON audit_entries TO parkpal_app;
GRANT SELECT, UPDATE (revoked_at, may_push, changed_at) ON devices TO parkpal_app;
CREATE POLICY own ON people TO parkpal_app USING (person_id = acting_person());
CREATE POLICY colleague ON people FOR SELECT TO parkpal_app USING (
    EXISTS (SELECT FROM memberships m WHERE m.person_id = people.person_id AND m.tenant_id = acting_tenant())
);
CREATE POLICY own ON refresh_tokens TO parkpal_app USING (person_id = acting_person());
CREATE POLICY own ON memberships TO parkpal_app
    USING (person_id = acting_person() OR tenant_id = acting_tenant()) WITH CHECK (tenant_id = acting_tenant());
CREATE POLICY own ON tenants TO parkpal_app
    USING (
        tenant_id = acting_tenant()
        OR EXISTS (SELECT FROM memberships m WHERE m.tenant_id = tenants.tenant_id AND m.person_id = acting_person())
    ) WITH CHECK (tenant_id = acting_tenant());
CREATE POLICY own ON person_consents TO parkpal_app USING (person_id = acting_person());
CREATE POLICY own ON vehicles TO parkpal_app USING (person_id = acting_person());
CREATE POLICY own ON person_devices TO parkpal_app USING (person_id = acting_person());
CREATE POLICY own ON erasure_requests TO parkpal_app USING (
    EXISTS (SELECT FROM person_devices d WHERE d.device_id = erasure_requests.device_id)
);
CREATE POLICY own ON audit_entries TO parkpal_app USING (tenant_id = acting_tenant() OR actor = acting_person());
