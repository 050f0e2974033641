-- HOLDFAST_REQUIRE_SYNC: raises TF002 unless a commit waits for at least this many synchronous
-- standbys at present. It is part of each append, so it reads a setting, which every role may read,
-- and no table. synchronous_standby_names is empty, 'ANY n (…)', 'FIRST n (…)', 'n (…)', or a
-- list of names, which means the first of them that is attached.
--
-- If attached is true, as many must be attached too, as far as the role may see them
-- (pg_read_all_stats): for a server that appends nothing at the moment.
CREATE FUNCTION require_standbys(required integer, attached boolean DEFAULT false)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    names text := pg_catalog.btrim(pg_catalog.current_setting('synchronous_standby_names'), E' \t\r\n');
    found integer := CASE WHEN names OPERATOR(pg_catalog.=) '' THEN 0 ELSE coalesce(
        (pg_catalog.regexp_match(names, '^(?:(?:FIRST|ANY)\s+)?(\d+)\s*\(', 'i'))[1]::pg_catalog.int4, 1) END;
BEGIN
    IF found OPERATOR(pg_catalog.<) required THEN
        RAISE EXCEPTION 'HOLDFAST_REQUIRE_SYNC is %, but synchronous_standby_names asks for % standbys', required, found
            USING ERRCODE = 'TF002';
    END IF;
    IF attached AND pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') THEN
        SELECT pg_catalog.count(*) INTO found FROM pg_catalog.pg_stat_get_wal_senders() s
         WHERE s.sync_state OPERATOR(pg_catalog.=) ANY (ARRAY['sync', 'quorum']);
        IF found OPERATOR(pg_catalog.<) required THEN
            RAISE EXCEPTION 'HOLDFAST_REQUIRE_SYNC is %, but % synchronous standbys are attached', required, found
                USING ERRCODE = 'TF002';
        END IF;
    END IF;
    RETURN true;
END
$$;

-- A head that is found in constant time. Each append leaves a dead version of the row of log_head,
-- and none of them can be removed while a long snapshot exists, such as that of a dump. A search
-- for the row, in the table or in an index, reads all of them. So an append addresses the row by
-- the ctid that the append before it returned, and the trigger on events does not search for it
-- either: the trigger on log_head passes the new position on, in a setting of the transaction.
-- A program that could forge the setting may update the head as well.
CREATE OR REPLACE FUNCTION refuse_moving_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.position > OLD.position AND NEW.recorded_at >= OLD.recorded_at THEN
        PERFORM pg_catalog.set_config('holdfast.head', NEW.position::text, true);
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the head of the log only moves forward: % is refused', TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;

-- As in 0010_orders.sql, with the head of the setting, if this transaction has moved it.
CREATE OR REPLACE FUNCTION refuse_beyond_head() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    odd record;
    head bigint := nullif(pg_catalog.current_setting('holdfast.head', true), '');
BEGIN
    IF head IS NULL THEN
        SELECT position INTO head FROM log_head;
    END IF;
    -- Without a head, as while a dump is restored, the events come first.
    IF head IS NULL THEN
        RETURN NULL;
    END IF;
    FOR odd IN
        SELECT e.aggregate_type, e.event_type, e.event_version, e.position > head AS is_beyond
          FROM fresh e
         WHERE e.position > head
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
        ELSIF NOT pg_has_role(current_user, (SELECT relowner FROM pg_catalog.pg_class WHERE oid = TG_RELID), 'USAGE') THEN
            RAISE EXCEPTION 'only the owner of the log records its incidents'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

-- The primary key of the only row would be checked against every dead version, too.
CREATE FUNCTION refuse_second_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM log_head) THEN
        RAISE EXCEPTION 'a log has one head' USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END
$$;
ALTER TABLE log_head DROP CONSTRAINT log_head_pkey;
ALTER TABLE log_head REPLICA IDENTITY FULL;
CREATE TRIGGER refuse_second_head BEFORE INSERT ON log_head
    FOR EACH ROW EXECUTE FUNCTION refuse_second_head();
ALTER TABLE log_head ENABLE ALWAYS TRIGGER refuse_second_head;

DO $$
DECLARE
    guard text;
BEGIN
    FOREACH guard IN ARRAY ARRAY['refuse_beyond_head', 'refuse_second_head'] LOOP
        EXECUTE format('ALTER FUNCTION %1$I.%2$I() SET search_path = %1$I, pg_temp', current_schema(), guard);
    END LOOP;
END
$$;
