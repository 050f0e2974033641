-- Requests for stock that were refused, by drop and minute. Telemetry, not events: nothing happened, so nothing is in the log,
-- and dropping this table loses no sale. Every process adds its own counts to the same rows.
CREATE TABLE refusals (
    drop_id       uuid        NOT NULL,
    minute        timestamptz NOT NULL,
    -- More was asked for than there was: an oversell attempt, blocked.
    sold_out      bigint      NOT NULL CHECK (sold_out >= 0),
    limit_reached bigint      NOT NULL CHECK (limit_reached >= 0),
    throttled     bigint      NOT NULL CHECK (throttled >= 0),
    -- So that each process reads what the others added since it last looked.
    changed_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (drop_id, minute)
);
CREATE INDEX refusals_by_change ON refusals (changed_at);
