-- Trigger functions run under the search_path of the session that writes. Logical replication and a
-- restored dump have an empty one, so a function that names log_head without a schema stops both.
-- From here on these functions have a search_path of their own: the schema of this log, whichever
-- it is, and no other, so that no table or function of the same name elsewhere is used either.
--
-- CREATE OR REPLACE FUNCTION removes the setting: a later migration that replaces one of them
-- repeats this block for it. A test compares (infrastructure/tests/migrations.rs).
DO $$
DECLARE
    guard text;
BEGIN
    FOREACH guard IN ARRAY ARRAY['place_stock_event', 'refuse_beyond_head'] LOOP
        EXECUTE format('ALTER FUNCTION %1$I.%2$I() SET search_path = %1$I, pg_temp', current_schema(), guard);
    END LOOP;
END
$$;
