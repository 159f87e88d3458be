-- Photos of places, and those that drivers add to what they report of a booking. The pictures lie in an object store.
CREATE TABLE photos (
    photo_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants,
    place_id uuid REFERENCES places,
    booking_id uuid REFERENCES bookings,
    added_by uuid NOT NULL REFERENCES people,
    state text NOT NULL DEFAULT 'coming' CHECK (state IN ('coming', 'shown', 'going')),
    position smallint,
    width_px integer NOT NULL CHECK (width_px > 0),
    height_px integer NOT NULL CHECK (height_px > 0),
    size_bytes integer NOT NULL CHECK (size_bytes > 0),
    added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT photos_of_one CHECK (num_nonnulls(place_id, booking_id) = 1),
    CONSTRAINT photos_placed CHECK ((state = 'going') = (position IS NULL)),
    CONSTRAINT photos_not_too_many CHECK (position BETWEEN 1 AND 10),
    CONSTRAINT photos_place_order UNIQUE (place_id, position) DEFERRABLE INITIALLY IMMEDIATE,
    CONSTRAINT photos_booking_order UNIQUE (booking_id, position) DEFERRABLE INITIALLY IMMEDIATE
);
COMMENT ON TABLE photos IS 'What the object store holds: the row is written before the picture, and deleted after it';
COMMENT ON COLUMN photos.state IS 'coming until the store has it, going until the store has it no more';
CREATE INDEX photos_unsettled ON photos (changed_at) WHERE state <> 'shown';
CREATE INDEX photos_added_by ON photos (added_by);
ALTER TABLE photos ENABLE ROW LEVEL SECURITY;
ALTER TABLE photos FORCE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON photos TO parkpal_desk;
CREATE POLICY desk ON photos TO parkpal_desk USING (true);
-- Who sees the place, or the booking, sees its photos; who runs the place changes those of the place.
GRANT SELECT, UPDATE ON photos TO parkpal_app;
CREATE POLICY seen ON photos FOR SELECT TO parkpal_app USING (
    added_by = acting_person()
    OR EXISTS (SELECT FROM places p WHERE p.place_id = photos.place_id)
    OR EXISTS (SELECT FROM bookings b WHERE b.booking_id = photos.booking_id)
);
CREATE POLICY own ON photos FOR UPDATE TO parkpal_app
    USING (added_by = acting_person() OR (place_id IS NOT NULL AND tenant_id = acting_tenant()));

-- A report names a photo of its booking; the row of the photo may go before the report does.
ALTER TABLE booking_reports DROP COLUMN photo;
ALTER TABLE booking_reports ADD COLUMN photo_id uuid;

-- Erasing an account empties what its person wrote, and closes places that nobody else runs.
GRANT UPDATE (text) ON reviews TO parkpal_desk;
GRANT UPDATE (note) ON booking_reports TO parkpal_desk;
GRANT UPDATE (name, description, address, access_note, lat, lon) ON places TO parkpal_desk;
GRANT UPDATE (name) ON tenants TO parkpal_desk;
GRANT UPDATE (reason) ON blocks TO parkpal_desk;
CREATE POLICY desk_empties ON tenants FOR UPDATE TO parkpal_desk USING (true);
CREATE POLICY desk_empties ON blocks FOR UPDATE TO parkpal_desk USING (true);
