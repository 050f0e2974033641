-- What each kind of program needs, and no more. Nobody logs in as one of these: grant them to users of your own
-- (`CREATE USER shop IN ROLE holdfast_writer`). docs/AUDIT.md has the table.
--
-- Roles belong to the whole server: another database may have made them, or be making them this moment; and the user who
-- migrates may not be allowed to. Then an administrator makes them, and calls grant_holdfast_roles() once in each database.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['holdfast_writer', 'holdfast_reader', 'holdfast_auditor'] LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL; -- Somebody else made it just now.
                WHEN insufficient_privilege THEN
                    RAISE NOTICE 'role % is not there, and % may not create it', wanted, current_user;
            END;
        END IF;
    END LOOP;
END
$$;

-- Grants what each role needs on what there is. A migration that adds a table names it here (CREATE OR REPLACE) and calls it.
CREATE FUNCTION grant_holdfast_roles() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    -- Derived from the log, and counts of what was refused, without personal data: anybody may read them, the server writes them.
    read_models CONSTANT text[] := ARRAY['projection_checkpoints', 'live_stock', 'top_purchasers', 'sales_timeline', 'refusals'];
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
        ELSIF one_role = 'holdfast_writer' THEN
            -- Appends, erases personal data, and knows what migrations there were. It can alter and remove no event.
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
