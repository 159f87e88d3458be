CREATE TABLE fence_versions (
    fence_id text NOT NULL CHECK (length(fence_id) BETWEEN 1 AND 128),
    version integer NOT NULL CHECK (version >= 1),
    name text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    kind text NOT NULL CHECK (kind IN ('zone', 'area')),
    dwell_s double precision NOT NULL CHECK (dwell_s >= 0),
    valid_from timestamptz NOT NULL,
    valid_to timestamptz,
    geometry jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (fence_id, version),
    CONSTRAINT fence_versions_period CHECK (valid_from < valid_to)
);
COMMENT ON TABLE fence_versions IS 'Geofences; a version is never changed, only ended once, in the future';
COMMENT ON COLUMN fence_versions.geometry IS 'GeoJSON MultiPolygon, WGS84';
CREATE UNIQUE INDEX fence_versions_one_open ON fence_versions (fence_id) WHERE valid_to IS NULL;

CREATE FUNCTION guard_fence_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.valid_to IS NOT NULL OR NEW.valid_to < clock_timestamp() + interval '3 minutes'
        OR (to_jsonb(NEW) - 'valid_to') IS DISTINCT FROM (to_jsonb(OLD) - 'valid_to')
    THEN
        RAISE EXCEPTION 'fence_versions is append-only: a version can only be ended, once, 3 minutes ahead or more'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fence_versions_append_only BEFORE UPDATE OR DELETE ON fence_versions
    FOR EACH ROW EXECUTE FUNCTION guard_fence_version();
