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
        || int8send(floor(extract(epoch FROM at_time) * 1000)::bigint)
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
    position       bigint                       NOT NULL UNIQUE,
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
    IF NEW.aggregate_type = 'Drop' THEN
        -- Raises for what is no UUID: such a stream could never be followed.
        NEW.aggregate_id := (NEW.aggregate_id::uuid)::text;
    END IF;
    SELECT * INTO STRICT head FROM log_head FOR UPDATE;
    IF NEW.aggregate_type = 'Drop' THEN
        -- Under the head's lock, so nobody adds to the stream meanwhile. Sequences that are taken are left to the primary
        -- key, whose unique_violation stock programs read as a conflict; a gap would stop every engine that follows.
        SELECT coalesce(max(sequence), 0) + 1 INTO STRICT next_in_stream
          FROM events WHERE aggregate_type = NEW.aggregate_type AND aggregate_id = NEW.aggregate_id;
        IF NEW.sequence > next_in_stream OR NEW.sequence < 1 THEN
            RAISE EXCEPTION 'the next event of this drop is %, not %', next_in_stream, NEW.sequence
                USING ERRCODE = 'check_violation';
        END IF;
    END IF;
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
