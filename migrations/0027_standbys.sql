-- HOLDFAST_REQUIRE_SYNC: raises TF002 unless a commit waits for at least this many synchronous standbys
-- at present. It is part of each append, so it reads a setting, which every role may read, and no
-- table. synchronous_standby_names is empty, 'ANY n (…)', 'FIRST n (…)', 'n (…)', or a list of names,
-- which means the first of them that is attached.
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
