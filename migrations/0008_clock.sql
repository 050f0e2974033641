-- The database's clock is the one that all nodes share: no writer moves the log's time further than 2 s beyond it. So a
-- node whose clock is ahead can neither record expiries nor sell drops before their time.
--
-- Past times are accepted (a restored or replicated log, written history). A log whose head was in the future before this
-- migration still takes events at the time of its head. Tables are not referred to by bare names, so that this works under
-- an empty search_path as well (logical replication, pg_restore).
CREATE FUNCTION refuse_future() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'recorded_at % is more than 2 s in the future: the clock of the writer is ahead', NEW.recorded_at
        USING ERRCODE = 'TF001';
END
$$;

-- Once per append. The condition is evaluated without calling the function.
CREATE TRIGGER refuse_future BEFORE UPDATE ON log_head FOR EACH ROW
    WHEN (NEW.recorded_at > OLD.recorded_at AND NEW.recorded_at > clock_timestamp() + interval '2 seconds')
    EXECUTE FUNCTION refuse_future();

-- An event may be in the future only as far as the head is, whose time was judged when it was set.
CREATE FUNCTION refuse_later_than_head() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    latest timestamptz;
    head_at timestamptz;
BEGIN
    SELECT max(recorded_at) INTO latest FROM fresh;
    IF latest > clock_timestamp() + interval '2 seconds' THEN
        EXECUTE format('SELECT recorded_at FROM %I.log_head', TG_TABLE_SCHEMA) INTO head_at;
        IF head_at IS NULL OR latest > head_at THEN
            RAISE EXCEPTION 'recorded_at % is more than 2 s in the future: the clock of the writer is ahead', latest
                USING ERRCODE = 'TF001';
        END IF;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER refuse_later_than_head AFTER INSERT ON events
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION refuse_later_than_head();

ALTER TABLE log_head ENABLE ALWAYS TRIGGER refuse_future;
ALTER TABLE events ENABLE ALWAYS TRIGGER refuse_later_than_head;
