-- Who works for a tenant sees its bookings, whichever tenant the transaction acts in; support sees those of all.
CREATE POLICY staff ON bookings FOR SELECT TO parkpal_app USING (
    EXISTS (
        SELECT FROM memberships m
        WHERE m.person_id = acting_person()
            AND (
                (m.tenant_id = bookings.tenant_id AND m.role IN ('host', 'attendant', 'operator_admin'))
                OR m.role IN ('support', 'platform_admin')
            )
    )
);
-- A bay is given out under its row's lock.
GRANT UPDATE (retired_at) ON bays TO parkpal_desk;
CREATE POLICY desk_lock ON bays FOR UPDATE TO parkpal_desk USING (true);

CREATE FUNCTION metres_between(lat1 double precision, lon1 double precision, lat2 double precision, lon2 double precision)
RETURNS double precision LANGUAGE sql IMMUTABLE
    RETURN 2 * 6371008.8 * asin(least(1, sqrt(
        sin(radians(lat2 - lat1) / 2) ^ 2
        + cos(radians(lat1)) * cos(radians(lat2)) * sin(radians(lon2 - lon1) / 2) ^ 2
    )));
COMMENT ON FUNCTION metres_between IS 'Along the great circle of a sphere of the mean radius (IUGG)';
