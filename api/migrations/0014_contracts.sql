-- What a customer may see, and the keys they see it with. A key without a contract is the installation's own.
CREATE TABLE contracts (
    contract_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenants,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ '{analytics:read,geofences:read,live:read}'),
    zone_ids text[] CHECK (cardinality(zone_ids) <= 1000),
    areas bigint[] CHECK (cardinality(areas) <= 1000),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at timestamptz,
    UNIQUE (contract_id, tenant_id)
);
COMMENT ON COLUMN contracts.zone_ids IS 'fences of which it lets see; null for all, empty for none';
COMMENT ON COLUMN contracts.areas IS 'H3 cells of resolution 6 within which it lets see cells; null for all, empty for none';
CREATE INDEX contracts_tenant ON contracts (tenant_id);

ALTER TABLE api_keys
    ADD COLUMN tenant_id uuid REFERENCES tenants,
    ADD COLUMN contract_id uuid,
    ADD COLUMN made_by uuid REFERENCES people,
    ADD COLUMN replaces text CONSTRAINT api_keys_rotated_once UNIQUE REFERENCES api_keys,
    ADD FOREIGN KEY (contract_id, tenant_id) REFERENCES contracts (contract_id, tenant_id),
    ADD CONSTRAINT api_keys_of_contract CHECK ((tenant_id IS NULL) = (contract_id IS NULL)),
    ADD CONSTRAINT api_keys_named CHECK (length(name) BETWEEN 1 AND 200);
COMMENT ON COLUMN api_keys.replaces IS 'the key that this one was made to follow; both are good for a while';
CREATE INDEX api_keys_contract ON api_keys (contract_id) WHERE contract_id IS NOT NULL;

ALTER TABLE contracts ENABLE ROW LEVEL SECURITY;
ALTER TABLE contracts FORCE ROW LEVEL SECURITY;
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
-- Who asks is not known before the key was looked up.
GRANT SELECT ON contracts TO parkpal_auth;
GRANT SELECT, INSERT ON api_keys TO parkpal_auth;
CREATE POLICY auth ON contracts FOR SELECT TO parkpal_auth USING (true);
CREATE POLICY auth ON api_keys TO parkpal_auth USING (true);
GRANT SELECT, INSERT, UPDATE (ends_at) ON contracts TO parkpal_app;
GRANT SELECT, INSERT, UPDATE (expires_at, revoked_at) ON api_keys TO parkpal_app;
CREATE POLICY own ON contracts TO parkpal_app USING (tenant_id = acting_tenant());
CREATE POLICY own ON api_keys TO parkpal_app USING (tenant_id = acting_tenant());
