-- Trigger functions run under the search_path of whoever writes. That of logical replication and of a
-- restored dump is empty, so a function that names log_head without its schema stops both. From here
-- on these functions have a search_path of their own: the schema of this log, whichever it is, and no
-- other, so that nobody's table or function of the same name takes their place either.
--
-- CREATE OR REPLACE FUNCTION removes the setting: a later migration that replaces one of them repeats
-- this block for it. A test compares (infrastructure/tests/migrations.rs).
DO $$
DECLARE
    guard text;
BEGIN
    FOREACH guard IN ARRAY ARRAY['place_stock_event', 'refuse_beyond_head'] LOOP
        EXECUTE format('ALTER FUNCTION %1$I.%2$I() SET search_path = %1$I, pg_temp', current_schema(), guard);
    END LOOP;
END
$$;
