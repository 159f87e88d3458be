-- The booking desk: decides between rivals, so it sees the bookings of all; what a person is answered is read as parkpal_app.
DO $$
BEGIN
    CREATE ROLE parkpal_desk NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- roles belong to the server: another database of it has made this one
END $$;
GRANT parkpal_desk TO CURRENT_USER;
GRANT USAGE ON SCHEMA public TO parkpal_desk;

CREATE TYPE uuidrange AS RANGE (subtype = uuid);

CREATE FUNCTION is_window(during tstzrange) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN NOT isempty(during) AND NOT lower_inf(during) AND NOT upper_inf(during)
        AND lower_inc(during) AND NOT upper_inc(during) AND isfinite(lower(during)) AND isfinite(upper(during));
COMMENT ON FUNCTION is_window IS 'Half-open, bounded and not empty, as every window of a booking is';

CREATE TABLE tariffs (
    tariff_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenants,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    rules jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (tariff_id, tenant_id)
);
COMMENT ON TABLE tariffs IS 'Rules of price; never changed: a place is given another one instead';
CREATE TRIGGER tariffs_append_only BEFORE UPDATE OR DELETE ON tariffs FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TABLE places (
    place_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenants,
    kind text NOT NULL CHECK (kind IN ('space', 'lot')),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    description text NOT NULL DEFAULT '' CHECK (length(description) <= 4000),
    address text NOT NULL DEFAULT '' CHECK (length(address) <= 400),
    access_note text NOT NULL DEFAULT '' CHECK (length(access_note) <= 1000),
    lat double precision NOT NULL CHECK (lat BETWEEN -90 AND 90),
    lon double precision NOT NULL CHECK (lon BETWEEN -180 AND 180),
    shown_lat double precision NOT NULL,
    shown_lon double precision NOT NULL,
    time_zone text NOT NULL,
    vehicle_kinds text[] NOT NULL DEFAULT '{car}' CHECK (vehicle_kinds <@ '{car,motorcycle,van}'),
    length_cm integer CHECK (length_cm > 0),
    width_cm integer CHECK (width_cm > 0),
    height_cm integer CHECK (height_cm > 0),
    amenities text[] NOT NULL DEFAULT '{}',
    capacity integer NOT NULL DEFAULT 1 CHECK (capacity >= 0),
    tariff_id uuid NOT NULL,
    policy jsonb NOT NULL,
    by_approval boolean NOT NULL DEFAULT false,
    buffer interval NOT NULL DEFAULT '0' CHECK (buffer >= '0'),
    lead_time interval NOT NULL DEFAULT '0' CHECK (lead_time >= '0'),
    min_stay interval NOT NULL DEFAULT '15 minutes' CHECK (min_stay > '0'),
    state text NOT NULL DEFAULT 'listed' CHECK (state IN ('listed', 'paused', 'retired')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (place_id, kind),
    FOREIGN KEY (tariff_id, tenant_id) REFERENCES tariffs (tariff_id, tenant_id),
    CONSTRAINT places_space_is_one CHECK (kind = 'lot' OR capacity = 1)
);
COMMENT ON TABLE places IS 'What is sold as such: a single space, or a lot of interchangeable ones';
COMMENT ON COLUMN places.shown_lat IS 'where strangers are told it is: a private space within 150 m';
COMMENT ON COLUMN places.access_note IS 'how to get in; for drivers with a reserved booking alone';
CREATE INDEX places_shown ON places (shown_lat, shown_lon) WHERE state = 'listed';
CREATE INDEX places_tenant ON places (tenant_id);

CREATE TABLE bays (
    space_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    lot_id uuid NOT NULL,
    lot_kind text NOT NULL DEFAULT 'lot' CHECK (lot_kind = 'lot'),
    tenant_id uuid NOT NULL REFERENCES tenants,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 40),
    retired_at timestamptz,
    FOREIGN KEY (lot_id, lot_kind) REFERENCES places (place_id, kind),
    UNIQUE (lot_id, name)
);
COMMENT ON TABLE bays IS 'The spaces of a lot; a booking is given one at check-in';

CREATE TABLE opening_hours (
    place_id uuid NOT NULL REFERENCES places,
    tenant_id uuid NOT NULL REFERENCES tenants,
    weekday smallint NOT NULL CHECK (weekday BETWEEN 1 AND 7),
    opens_min smallint NOT NULL CHECK (opens_min BETWEEN 0 AND 1439),
    closes_min smallint NOT NULL CHECK (closes_min > opens_min AND closes_min <= opens_min + 1440),
    PRIMARY KEY (place_id, weekday, opens_min)
);
COMMENT ON TABLE opening_hours IS 'Local wall-clock minutes of a weekday (Monday is 1), past 1440 into the next day; without rows always open';

CREATE TABLE blocks (
    block_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    place_id uuid NOT NULL REFERENCES places,
    tenant_id uuid NOT NULL REFERENCES tenants,
    during tstzrange NOT NULL CHECK (is_window(during)),
    spaces integer NOT NULL DEFAULT 1 CHECK (spaces > 0),
    reason text NOT NULL DEFAULT '' CHECK (length(reason) <= 400),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN blocks.spaces IS 'how many spaces of a lot are closed';
CREATE INDEX blocks_place ON blocks USING gist (uuidrange(place_id, place_id, '[]'), during);

CREATE TABLE lot_buckets (
    lot_id uuid NOT NULL REFERENCES places,
    starts_at timestamptz NOT NULL CHECK (extract(epoch FROM starts_at) % 900 = 0),
    capacity integer NOT NULL,
    used integer NOT NULL DEFAULT 0,
    over integer NOT NULL DEFAULT 0 CHECK (over >= 0),
    PRIMARY KEY (lot_id, starts_at),
    CONSTRAINT lot_buckets_not_oversold CHECK (used BETWEEN 0 AND capacity)
);
COMMENT ON TABLE lot_buckets IS 'What of a lot is sold in a quarter of an hour; `over` counts those who should have left';

CREATE TABLE bookings (
    booking_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenants,
    place_id uuid NOT NULL,
    place_kind text NOT NULL,
    space_id uuid,
    driver_id uuid NOT NULL REFERENCES people,
    plate text NOT NULL,
    vehicle_kind text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('booking', 'walk_up', 'extension')),
    status text NOT NULL CHECK (
        status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY', 'FULFILLED', 'CANCELED', 'EXPIRED', 'NO_SHOW')
    ),
    payment_status text NOT NULL DEFAULT 'none' CHECK (
        payment_status IN
            ('none', 'pending', 'paid', 'part_refunded', 'refunded', 'credited', 'disputed', 'balance_due')
    ),
    reason text NOT NULL DEFAULT '',
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    total_minor bigint NOT NULL CHECK (total_minor >= 0),
    overstay_minor bigint NOT NULL DEFAULT 0 CHECK (overstay_minor >= 0),
    pay_later boolean NOT NULL DEFAULT false,
    during tstzrange NOT NULL CHECK (is_window(during)),
    hold_expires_at timestamptz,
    approval text CHECK (approval IN ('asked', 'given')),
    extends uuid REFERENCES bookings,
    replaces uuid UNIQUE REFERENCES bookings,
    quote jsonb NOT NULL,
    policy jsonb NOT NULL,
    checked_in_at timestamptz,
    checked_out_at timestamptz,
    late_until timestamptz,
    reminded_at timestamptz,
    validated_at timestamptz,
    flagged boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (place_id, place_kind) REFERENCES places (place_id, kind),
    CONSTRAINT bookings_space CHECK (place_kind = 'lot' OR (space_id IS NOT NULL AND space_id = place_id)),
    CONSTRAINT bookings_hold_ends CHECK ((status = 'HELD') = (hold_expires_at IS NOT NULL)),
    CONSTRAINT bookings_extension CHECK ((kind = 'extension') = (extends IS NOT NULL)),
    CONSTRAINT bookings_no_overlap EXCLUDE USING gist (uuidrange(space_id, space_id, '[]') WITH &&, during WITH &&)
        WHERE (place_kind = 'space' AND status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY'))
);
COMMENT ON TABLE bookings IS 'Promises of a place for a window of time; no row is ever deleted';
COMMENT ON COLUMN bookings.space_id IS 'the space itself; of a lot null until check-in';
COMMENT ON COLUMN bookings.reason IS 'why the status is what it is; each change leaves it in booking_history';
COMMENT ON COLUMN bookings.replaces IS 'the booking whose money came too late, and for which this one was made';
CREATE UNIQUE INDEX bookings_one_stay ON bookings (space_id)
    WHERE status IN ('ACTIVE', 'OVERSTAY') AND extends IS NULL;
CREATE INDEX bookings_driver ON bookings (driver_id, created_at DESC);
CREATE INDEX bookings_tenant ON bookings (tenant_id, created_at DESC);
CREATE INDEX bookings_place ON bookings (place_id) WHERE status IN ('HELD', 'RESERVED', 'ACTIVE', 'OVERSTAY');
CREATE INDEX bookings_extends ON bookings (extends) WHERE extends IS NOT NULL;
CREATE INDEX bookings_held ON bookings (hold_expires_at) WHERE status = 'HELD';
CREATE INDEX bookings_ends ON bookings (upper(during)) WHERE status IN ('RESERVED', 'ACTIVE', 'OVERSTAY');
CREATE INDEX bookings_owing ON bookings (driver_id) WHERE payment_status = 'balance_due';

CREATE TABLE booking_transitions (
    from_status text NOT NULL,
    to_status text NOT NULL,
    extension_only boolean NOT NULL DEFAULT false,
    PRIMARY KEY (from_status, to_status)
);
COMMENT ON TABLE booking_transitions IS 'Every change of status that there is; a test holds it to the one of api.bookings.states';
INSERT INTO booking_transitions VALUES
    ('HELD', 'RESERVED', false), ('HELD', 'CANCELED', false), ('HELD', 'EXPIRED', false), ('HELD', 'ACTIVE', false),
    ('RESERVED', 'ACTIVE', false), ('RESERVED', 'CANCELED', false), ('RESERVED', 'NO_SHOW', false),
    ('RESERVED', 'FULFILLED', true),
    ('ACTIVE', 'FULFILLED', false), ('ACTIVE', 'OVERSTAY', false),
    ('OVERSTAY', 'FULFILLED', false);

CREATE TABLE booking_history (
    entry_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    booking_id uuid NOT NULL REFERENCES bookings,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor uuid,
    from_status text,
    to_status text NOT NULL,
    place_id uuid NOT NULL,
    space_id uuid,
    during tstzrange NOT NULL,
    reason text NOT NULL
);
COMMENT ON TABLE booking_history IS 'Every change of status, place or window of a booking; actor is null for the clock and for providers';
CREATE INDEX booking_history_booking ON booking_history (booking_id, entry_id);
CREATE TRIGGER booking_history_append_only BEFORE UPDATE OR DELETE ON booking_history
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_booking() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status <> OLD.status AND NOT EXISTS (
        SELECT FROM booking_transitions t
        WHERE t.from_status = OLD.status AND t.to_status = NEW.status
            AND (NOT t.extension_only OR NEW.extends IS NOT NULL)
    ) THEN
        RAISE EXCEPTION 'a booking does not go from % to %', OLD.status, NEW.status
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER bookings_guard BEFORE UPDATE OF status ON bookings FOR EACH ROW EXECUTE FUNCTION guard_booking();

CREATE FUNCTION record_booking() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR (NEW.status, NEW.place_id, NEW.space_id, NEW.during)
        IS DISTINCT FROM (OLD.status, OLD.place_id, OLD.space_id, OLD.during)
    THEN
        INSERT INTO booking_history (booking_id, actor, from_status, to_status, place_id, space_id, during, reason)
        VALUES (
            NEW.booking_id, acting_person(), CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END,
            NEW.status, NEW.place_id, NEW.space_id, NEW.during, NEW.reason
        );
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER bookings_recorded AFTER INSERT OR UPDATE ON bookings FOR EACH ROW EXECUTE FUNCTION record_booking();

CREATE TABLE used_codes (
    jti uuid NOT NULL,
    action text NOT NULL,
    used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (jti, action)
);
COMMENT ON TABLE used_codes IS 'QR codes that opened something: each does so once per action';
CREATE INDEX used_codes_used_at ON used_codes (used_at);

CREATE TABLE booking_reports (
    report_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    booking_id uuid NOT NULL REFERENCES bookings,
    tenant_id uuid NOT NULL REFERENCES tenants,
    kind text NOT NULL CHECK (kind IN ('occupied', 'blocked', 'unsafe', 'other')),
    note text NOT NULL DEFAULT '' CHECK (length(note) <= 1000),
    photo text,
    outcome text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX booking_reports_tenant ON booking_reports (tenant_id, created_at DESC);

CREATE TABLE reviews (
    review_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    booking_id uuid NOT NULL REFERENCES bookings,
    tenant_id uuid NOT NULL REFERENCES tenants,
    place_id uuid NOT NULL REFERENCES places,
    driver_id uuid NOT NULL REFERENCES people,
    author text NOT NULL CHECK (author IN ('driver', 'host')),
    stars smallint NOT NULL CHECK (stars BETWEEN 1 AND 5),
    text text NOT NULL DEFAULT '' CHECK (length(text) <= 2000),
    reported_at timestamptz,
    hidden_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (booking_id, author)
);
CREATE INDEX reviews_place ON reviews (place_id, created_at DESC);

CREATE TABLE idempotency_keys (
    principal uuid NOT NULL,
    route text NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    body_hash bytea NOT NULL CHECK (length(body_hash) = 32),
    status integer,
    answer bytea,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (principal, route, key)
);
COMMENT ON TABLE idempotency_keys IS 'Answers by scope, kept for a day at least; without an answer the work is under way, and a repeat resumes it';
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'tariffs', 'places', 'bays', 'opening_hours', 'blocks', 'lot_buckets', 'bookings', 'booking_history',
        'used_codes', 'booking_reports', 'reviews', 'idempotency_keys'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    END LOOP;
END $$;

-- The desk sees and changes what it decides about; nothing of it is deleted.
GRANT SELECT ON tariffs, places, bays, opening_hours, blocks, booking_transitions, tenants, memberships, vehicles TO parkpal_desk;
GRANT SELECT (person_id, email, phone, name, locale, erased_at) ON people TO parkpal_desk;
GRANT UPDATE (state) ON places TO parkpal_desk;  -- SELECT ... FOR SHARE asks for it
GRANT SELECT, INSERT, UPDATE ON lot_buckets, bookings TO parkpal_desk;
GRANT SELECT, INSERT ON booking_history, booking_reports, reviews TO parkpal_desk;
GRANT UPDATE (outcome) ON booking_reports TO parkpal_desk;
GRANT UPDATE (reported_at, hidden_at) ON reviews TO parkpal_desk;
GRANT SELECT, INSERT, DELETE ON used_codes TO parkpal_desk;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO parkpal_desk;
GRANT INSERT ON outbox, audit_entries TO parkpal_desk;
GRANT SELECT ON booking_transitions TO parkpal_app;
CREATE POLICY desk ON tariffs FOR SELECT TO parkpal_desk USING (true);
CREATE POLICY desk ON places TO parkpal_desk USING (true);
CREATE POLICY desk ON bays FOR SELECT TO parkpal_desk USING (true);
CREATE POLICY desk ON opening_hours FOR SELECT TO parkpal_desk USING (true);
CREATE POLICY desk ON blocks FOR SELECT TO parkpal_desk USING (true);
CREATE POLICY desk ON lot_buckets TO parkpal_desk USING (true);
CREATE POLICY desk ON bookings TO parkpal_desk USING (true);
CREATE POLICY desk ON booking_history TO parkpal_desk USING (true);
CREATE POLICY desk ON booking_reports TO parkpal_desk USING (true);
CREATE POLICY desk ON reviews TO parkpal_desk USING (true);
CREATE POLICY desk ON used_codes TO parkpal_desk USING (true);
CREATE POLICY desk ON idempotency_keys TO parkpal_desk USING (true);
CREATE POLICY desk ON people FOR SELECT TO parkpal_desk USING (true);
CREATE POLICY desk ON tenants FOR SELECT TO parkpal_desk USING (true);
CREATE POLICY desk ON memberships FOR SELECT TO parkpal_desk USING (true);
CREATE POLICY desk ON vehicles FOR SELECT TO parkpal_desk USING (true);
CREATE POLICY desk ON outbox FOR INSERT TO parkpal_desk WITH CHECK (true);
CREATE POLICY desk ON audit_entries FOR INSERT TO parkpal_desk WITH CHECK (true);

-- A person sees what is listed and their own bookings; within a tenant, what is the tenant's, which they may change.
GRANT SELECT, INSERT ON tariffs TO parkpal_app;
GRANT SELECT, INSERT, UPDATE ON places, bays TO parkpal_app;
GRANT SELECT, INSERT, DELETE ON opening_hours, blocks TO parkpal_app;
GRANT SELECT, UPDATE ON lot_buckets TO parkpal_app;
GRANT SELECT ON bookings, booking_history, booking_reports, reviews TO parkpal_app;
GRANT SELECT, INSERT, UPDATE ON idempotency_keys TO parkpal_app;
CREATE POLICY own ON bookings FOR SELECT TO parkpal_app
    USING (driver_id = acting_person() OR tenant_id = acting_tenant());
CREATE POLICY listed ON places FOR SELECT TO parkpal_app USING (
    state = 'listed' OR tenant_id = acting_tenant()
    OR EXISTS (SELECT FROM bookings b WHERE b.place_id = places.place_id AND b.driver_id = acting_person())
);
CREATE POLICY own_insert ON places FOR INSERT TO parkpal_app WITH CHECK (tenant_id = acting_tenant());
CREATE POLICY own_update ON places FOR UPDATE TO parkpal_app USING (tenant_id = acting_tenant());
CREATE POLICY listed ON tariffs FOR SELECT TO parkpal_app USING (true);
CREATE POLICY own ON tariffs FOR INSERT TO parkpal_app WITH CHECK (tenant_id = acting_tenant());
CREATE POLICY own ON bays TO parkpal_app USING (tenant_id = acting_tenant());
CREATE POLICY listed ON opening_hours FOR SELECT TO parkpal_app USING (true);
CREATE POLICY own_insert ON opening_hours FOR INSERT TO parkpal_app WITH CHECK (tenant_id = acting_tenant());
CREATE POLICY own_delete ON opening_hours FOR DELETE TO parkpal_app USING (tenant_id = acting_tenant());
CREATE POLICY own ON blocks TO parkpal_app USING (tenant_id = acting_tenant());
CREATE POLICY own ON lot_buckets TO parkpal_app USING (
    EXISTS (SELECT FROM places p WHERE p.place_id = lot_buckets.lot_id AND p.tenant_id = acting_tenant())
);
CREATE POLICY own ON booking_history FOR SELECT TO parkpal_app USING (
    EXISTS (SELECT FROM bookings b WHERE b.booking_id = booking_history.booking_id)
);
CREATE POLICY own ON booking_reports FOR SELECT TO parkpal_app USING (
    EXISTS (SELECT FROM bookings b WHERE b.booking_id = booking_reports.booking_id)
);
CREATE POLICY shown ON reviews FOR SELECT TO parkpal_app USING (
    (hidden_at IS NULL AND author = 'driver') OR driver_id = acting_person() OR tenant_id = acting_tenant()
);
CREATE POLICY own ON idempotency_keys TO parkpal_app USING (principal = acting_person());
