-- The event log: append-only, dense, hash-chained. A superset of the postgres-es schema, so that stock cqrs-es
-- programs read and append to it unchanged.

-- The hash of one event, chained to the one before it. The encoding is documented in infrastructure/src/log/chain.rs,
-- which computes the same in Rust; tests/ compares the two.
CREATE FUNCTION event_hash(
    previous bytea, at_position bigint, at_time timestamptz, in_type text, in_stream text, at_sequence bigint,
    of_type text, of_version text, payload text, metadata text
) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT sha256(
        convert_to('holdfast.event.v1', 'UTF8') || previous
        || int8send(at_position)
        || int8send(round(extract(epoch FROM at_time) * 1000)::bigint)
        || int8send(octet_length(convert_to(in_type, 'UTF8'))) || convert_to(in_type, 'UTF8')
        || int8send(octet_length(convert_to(in_stream, 'UTF8'))) || convert_to(in_stream, 'UTF8')
        || int8send(at_sequence)
        || int8send(octet_length(convert_to(of_type, 'UTF8'))) || convert_to(of_type, 'UTF8')
        || int8send(octet_length(convert_to(of_version, 'UTF8'))) || convert_to(of_version, 'UTF8')
        || int8send(octet_length(convert_to(payload, 'UTF8'))) || convert_to(payload, 'UTF8')
        || int8send(octet_length(convert_to(metadata, 'UTF8'))) || convert_to(metadata, 'UTF8')
    )
$$;

CREATE TABLE events (
    aggregate_type text                         NOT NULL,
    aggregate_id   text                         NOT NULL,
    sequence       bigint CHECK (sequence >= 0) NOT NULL,
    event_type     text                         NOT NULL,
    event_version  text                         NOT NULL,
    -- json, not jsonb: the stored text is the hashed text.
    payload        json                         NOT NULL,
    metadata       json                         NOT NULL,
    -- The place in the whole log: dense, in commit order, from 1.
    position       bigint CHECK (position > 0)  NOT NULL UNIQUE,
    recorded_at    timestamptz                  NOT NULL,
    hash           bytea                        NOT NULL,
    -- Personal data that the payload only commits to. Outside the chain, so that it can be erased.
    private        json,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);

-- The last position and what it commits to: one row. An append compares and sets it; that is the whole protocol.
CREATE TABLE log_head (
    only_row    boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    position    bigint      NOT NULL,
    hash        bytea       NOT NULL,
    recorded_at timestamptz NOT NULL
) WITH (fillfactor = 10); -- Room for updates in place: one hot row, never more than a page of versions.

INSERT INTO log_head (position, hash, recorded_at)
VALUES (0, decode(repeat('00', 32), 'hex'), 'epoch');

-- A stock seven-column INSERT: the place, the time and the hash are given here, under the head's lock.
CREATE FUNCTION place_stock_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    head log_head%ROWTYPE;
    next_in_stream bigint;
BEGIN
    -- From here to its commit, everybody else waits for this program: it must not fall asleep meanwhile.
    PERFORM set_config('idle_in_transaction_session_timeout', '2000', true);
    IF NEW.aggregate_type = 'Drop' THEN
        -- Raises for what is no UUID: such a stream could never be followed.
        NEW.aggregate_id := (NEW.aggregate_id::uuid)::text;
    END IF;
    SELECT * INTO STRICT head FROM log_head FOR UPDATE;
    -- Under the head's lock, so nobody adds to the stream meanwhile. Sequences that are taken are left to the primary key,
    -- whose unique_violation stock programs read as a conflict; a gap would stop every engine that follows.
    SELECT coalesce(max(sequence), 0) + 1 INTO STRICT next_in_stream
      FROM events WHERE aggregate_type = NEW.aggregate_type AND aggregate_id = NEW.aggregate_id;
    IF NEW.sequence > next_in_stream OR NEW.sequence < 1 THEN
        RAISE EXCEPTION 'the next event of stream % is %, not %', NEW.aggregate_id, next_in_stream, NEW.sequence
            USING ERRCODE = 'check_violation';
    END IF;
    -- Outer white space is no part of a JSON value, and would be lost on the way to an auditor.
    NEW.payload := btrim(NEW.payload::text, E' \t\r\n')::json;
    NEW.metadata := btrim(NEW.metadata::text, E' \t\r\n')::json;
    NEW.position := head.position + 1;
    NEW.recorded_at := greatest(date_trunc('milliseconds', clock_timestamp()), head.recorded_at);
    NEW.hash := event_hash(head.hash, NEW.position, NEW.recorded_at, NEW.aggregate_type, NEW.aggregate_id,
                           NEW.sequence, NEW.event_type, NEW.event_version, NEW.payload::text, NEW.metadata::text);
    UPDATE log_head SET position = NEW.position, hash = NEW.hash, recorded_at = NEW.recorded_at;
    RETURN NEW;
END
$$;

CREATE TRIGGER place_stock_event BEFORE INSERT ON events
    FOR EACH ROW WHEN (NEW.position IS NULL) EXECUTE FUNCTION place_stock_event();

-- No event stands beyond the head: one placed there by hand would stop every later append, and could not be removed.
CREATE FUNCTION refuse_beyond_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM fresh JOIN log_head ON fresh.position > log_head.position) THEN
        RAISE EXCEPTION 'an event must not stand beyond the head of the log: leave its position to the database'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER refuse_beyond_head AFTER INSERT ON events
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION refuse_beyond_head();

-- Append-only, by the database and not by habit. The one exception: personal data may be erased.
CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.private IS NULL
           AND (NEW.aggregate_type, NEW.aggregate_id, NEW.sequence, NEW.event_type, NEW.event_version,
                NEW.payload::text, NEW.metadata::text, NEW.position, NEW.recorded_at, NEW.hash)
               IS NOT DISTINCT FROM
               (OLD.aggregate_type, OLD.aggregate_id, OLD.sequence, OLD.event_type, OLD.event_version,
                OLD.payload::text, OLD.metadata::text, OLD.position, OLD.recorded_at, OLD.hash)
        THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'the log is append-only: only private may change, and only to NULL'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RAISE EXCEPTION 'the log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER refuse_rewriting BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER refuse_truncating BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

-- The head only moves forward.
CREATE FUNCTION refuse_moving_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.position > OLD.position AND NEW.recorded_at >= OLD.recorded_at THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the head of the log only moves forward: % is refused', TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER refuse_moving_back BEFORE UPDATE OR DELETE ON log_head
    FOR EACH ROW EXECUTE FUNCTION refuse_moving_back();
CREATE TRIGGER refuse_truncating BEFORE TRUNCATE ON log_head
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewriting();

-- These guard even where replication would switch ordinary triggers off.
ALTER TABLE events ENABLE ALWAYS TRIGGER place_stock_event;
ALTER TABLE events ENABLE ALWAYS TRIGGER refuse_beyond_head;
ALTER TABLE events ENABLE ALWAYS TRIGGER refuse_rewriting;
ALTER TABLE events ENABLE ALWAYS TRIGGER refuse_truncating;
ALTER TABLE log_head ENABLE ALWAYS TRIGGER refuse_moving_back;
ALTER TABLE log_head ENABLE ALWAYS TRIGGER refuse_truncating;

-- Keeps idempotency keys from being guessed from their digests in the log. Outside the chain, and in no export.
CREATE TABLE log_secret (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    secret   bytea   NOT NULL
);
INSERT INTO log_secret (secret)
VALUES (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')));
