-- The pairs of event type and version of drops that some release can read. A pair that no release
-- knows would put its drop into quarantine on every node (docs/LOG_REFUSED.md), so the database
-- refuses it, whoever writes it. A later migration adds a pair with CREATE OR REPLACE:
-- migrations/README.md. infrastructure/src/upcasters.rs holds the same list; a test compares the
-- two.
CREATE FUNCTION known_event_types() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[
        'HoldPlaced 1.0', 'PurchaseConfirmed 1.0', 'HoldExpired 1.0', 'HoldReleased 1.0', 'WaitlistJoined 1.0',
        'WaitlistLeft 1.0', 'StockAdjusted 1.0', 'DropScheduled 1.0', 'DropRescheduled 1.0', 'DropCancelled 1.0',
        'HoldPlaced 0.9'
    ]
$$;

-- As in 0001_log.sql, and what an append may not contain: all in one look at the new rows, for an
-- append pays for each. A trigger and no constraint: of a constraint, every append would prepare
-- the list anew, at 30 to 90 microseconds; and it asks nothing of rows that are there already.
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
    LOOP
        IF odd.is_beyond THEN
            RAISE EXCEPTION 'an event must not stand beyond the head of the log: leave its position to the database'
                USING ERRCODE = 'restrict_violation';
        ELSIF odd.aggregate_type = 'Drop' THEN
            RAISE EXCEPTION 'no release knows version % of %: a migration has to admit it first', odd.event_version, odd.event_type
                USING ERRCODE = 'check_violation', CONSTRAINT = 'known_event_type',
                      HINT = 'migrations/README.md: readers first';
        -- Events of the log itself void a position or record a cut: `holdfast log`. Whoever may
        -- append could otherwise undo a sale.
        ELSIF NOT pg_has_role(current_user, (SELECT relowner FROM pg_catalog.pg_class WHERE oid = TG_RELID), 'USAGE') THEN
            RAISE EXCEPTION 'only the owner of the log records its incidents'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

-- Drops whose rows in a table do not follow the log: an event at `position` could not be applied,
-- or was declared void. Whoever can apply it folds the rows again from there on, from nothing where
-- it is 0, and removes the mark.
CREATE TABLE projection_quarantines (
    name     text   NOT NULL,
    drop_id  uuid   NOT NULL,
    position bigint NOT NULL CHECK (position >= 0),
    PRIMARY KEY (name, drop_id)
);

-- What `holdfast log cut` removed, as it was stored, but without personal data, which an erasure
-- could not reach here.
CREATE TABLE cut_events (
    cut_at         timestamptz NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    sequence       bigint      NOT NULL,
    event_type     text        NOT NULL,
    event_version  text        NOT NULL,
    payload        json        NOT NULL,
    metadata       json        NOT NULL,
    position       bigint      NOT NULL,
    recorded_at    timestamptz NOT NULL,
    hash           bytea       NOT NULL
);

-- As in 0004_roles.sql, with the new tables.
CREATE OR REPLACE FUNCTION grant_holdfast_roles() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    read_models CONSTANT text[] := ARRAY['projection_checkpoints', 'projection_quarantines', 'live_stock', 'top_purchasers',
                                         'sales_timeline', 'refusals'];
    -- Everything that the hash chain covers.
    chained CONSTANT text := 'aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at, hash';
    every_role CONSTANT text[] := ARRAY['holdfast_writer', 'holdfast_reader', 'holdfast_auditor'];
    one_role text;
    one_table text;
BEGIN
    FOREACH one_role IN ARRAY every_role LOOP
        CONTINUE WHEN NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = one_role);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), one_role);
        EXECUTE format('GRANT SELECT ON log_head TO %I', one_role);
        FOREACH one_table IN ARRAY read_models LOOP
            CONTINUE WHEN to_regclass(one_table) IS NULL;
            EXECUTE format('GRANT SELECT ON %I TO %I', one_table, one_role);
            IF one_role = 'holdfast_writer' THEN
                EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %I TO %I', one_table, one_role);
            END IF;
        END LOOP;
        IF one_role = 'holdfast_auditor' THEN
            EXECUTE format('GRANT SELECT (%s) ON events TO %I', chained, one_role);
            IF to_regclass('erasures') IS NOT NULL THEN
                EXECUTE format('GRANT SELECT ON erasures TO %I', one_role);
            END IF;
            IF to_regclass('cut_events') IS NOT NULL THEN
                EXECUTE format('GRANT SELECT ON cut_events TO %I', one_role);
            END IF;
        ELSIF one_role = 'holdfast_writer' THEN
            -- Appends, erases personal data, and knows what migrations there were. It can alter and
            -- remove no event.
            EXECUTE format('GRANT SELECT, INSERT, UPDATE (private) ON events TO %I', one_role);
            EXECUTE format('GRANT UPDATE ON log_head TO %I', one_role);
            EXECUTE format('GRANT SELECT ON log_secret TO %I', one_role);
            IF to_regclass('erasures') IS NOT NULL THEN
                EXECUTE format('GRANT SELECT, INSERT ON erasures TO %I', one_role);
            END IF;
            IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
                EXECUTE format('GRANT SELECT ON _sqlx_migrations TO %I', one_role);
            END IF;
        END IF;
    END LOOP;
END
$$;

REVOKE ALL ON FUNCTION grant_holdfast_roles() FROM PUBLIC;
SELECT grant_holdfast_roles();
