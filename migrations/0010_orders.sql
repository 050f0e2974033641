-- Orders: the pairs of event type and version that some release can read, as known_event_types() is
-- for drops. infrastructure/src/upcasters.rs holds the same list; a test compares the two.
CREATE FUNCTION known_order_event_types() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[
        'OrderPlaced 1.0', 'OrderPaid 1.0', 'OrderCancelled 1.0', 'OrderExpired 1.0', 'OrderFulfilled 1.0'
    ]
$$;

-- As in 0007_event_types.sql, for orders too.
CREATE OR REPLACE FUNCTION refuse_beyond_head() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    odd record;
BEGIN
    FOR odd IN
        SELECT e.aggregate_type, e.event_type, e.event_version, e.position > h.position AS is_beyond
          FROM fresh e CROSS JOIN log_head h
         WHERE e.position > h.position
            OR e.aggregate_type = 'Log'
            OR e.aggregate_type = 'Drop' AND (e.event_type || ' ' || e.event_version) <> ALL (known_event_types())
            OR e.aggregate_type = 'Order' AND (e.event_type || ' ' || e.event_version) <> ALL (known_order_event_types())
    LOOP
        IF odd.is_beyond THEN
            RAISE EXCEPTION 'an event must not stand beyond the head of the log: leave its position to the database'
                USING ERRCODE = 'restrict_violation';
        ELSIF odd.aggregate_type IN ('Drop', 'Order') THEN
            RAISE EXCEPTION 'no release knows version % of %: a migration has to admit it first', odd.event_version, odd.event_type
                USING ERRCODE = 'check_violation', CONSTRAINT = 'known_event_type',
                      HINT = 'migrations/README.md: readers first';
        -- Events of the log itself void a position or record a cut: `holdfast log`. Otherwise every
        -- program that may append could undo a sale.
        ELSIF NOT pg_has_role(current_user, (SELECT relowner FROM pg_catalog.pg_class WHERE oid = TG_RELID), 'USAGE') THEN
            RAISE EXCEPTION 'only the owner of the log records its incidents'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
