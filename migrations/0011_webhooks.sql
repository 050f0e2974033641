-- Endpoints that receive webhooks, and the deliveries that are not done yet. The log is the queue:
-- an endpoint keeps one position, and rows exist only for exceptions
-- (docs/decisions/0056-the-log-is-the-queue-of-webhooks.md).
CREATE TABLE webhook_endpoints (
    id              uuid        PRIMARY KEY,
    url             text        NOT NULL,
    -- NULL: all types.
    event_types     text[],
    description     text,
    -- Why nothing is sent: NULL while the endpoint is enabled.
    disabled_reason text        CHECK (disabled_reason IN ('gone', 'administrator')),
    disabled_at     timestamptz CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL)),
    -- Everything up to here was delivered, or has a row in webhook_lanes or webhook_deliveries.
    position        bigint      NOT NULL CHECK (position >= 0),
    -- Raised by every administrator's change, so that the dispatcher reads the rows again. A row
    -- that was changed has the revision of its change, and the dispatcher does not overwrite one
    -- that is newer than those that it has read.
    revision        bigint      NOT NULL DEFAULT 0,
    -- The revision of the last replay, which moved the position back.
    replay_revision bigint      NOT NULL DEFAULT 0,
    -- The server that dispatches, until then, by this database's clock. A row and not an advisory
    -- lock: poolers leave session locks behind.
    lease_holder    uuid,
    lease_until     timestamptz,
    created_at      timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp())
);

-- Secrets in clear, because the sender signs with them. All that have not expired sign.
CREATE TABLE webhook_secrets (
    endpoint_id uuid        NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    secret      bytea       NOT NULL CHECK (octet_length(secret) BETWEEN 24 AND 64),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- NULL: the current one.
    expires_at  timestamptz,
    PRIMARY KEY (endpoint_id, secret)
);

-- Drops whose events an endpoint has not received although its position is behind them: a delivery
-- failed, or the drop is in quarantine. The next one is part `part` of the event at `position`, or
-- later.
CREATE TABLE webhook_lanes (
    endpoint_id uuid     NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    drop_id     uuid     NOT NULL,
    position    bigint   NOT NULL CHECK (position > 0),
    part        smallint NOT NULL CHECK (part >= 0),
    revision    bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (endpoint_id, drop_id)
);

CREATE TABLE webhook_deliveries (
    id              uuid        PRIMARY KEY,
    endpoint_id     uuid        NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    webhook_id      text        NOT NULL,
    event_type      text        NOT NULL,
    -- NULL for a test.
    drop_id         uuid,
    -- Of the event; of the head for a test.
    position        bigint      NOT NULL,
    part            smallint    NOT NULL DEFAULT 0,
    status          text        NOT NULL CHECK (status IN ('pending', 'failed', 'done')),
    attempts        integer     NOT NULL CHECK (attempts >= 0),
    next_attempt_at timestamptz CHECK ((next_attempt_at IS NOT NULL) = (status = 'pending')),
    last_error      text,
    -- Later events of the drop wait for it.
    holds_drop      boolean     NOT NULL,
    -- The last failure was of the whole endpoint, so its recovery is a reason to try again.
    is_of_endpoint  boolean     NOT NULL DEFAULT false,
    -- An administrator has decided about it.
    cancelled_at    timestamptz,
    created_at      timestamptz NOT NULL,
    finished_at     timestamptz,
    revision        bigint      NOT NULL DEFAULT 0
);
CREATE INDEX webhook_deliveries_listed ON webhook_deliveries (endpoint_id, status, position DESC, id DESC);
CREATE INDEX webhook_deliveries_jobs ON webhook_deliveries (position DESC, id DESC)
    WHERE status <> 'done' OR attempts > 1;

-- The tables contain secrets and ids of open holds: for servers only.
CREATE FUNCTION grant_webhook_roles() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'holdfast_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE
           ON webhook_endpoints, webhook_secrets, webhook_lanes, webhook_deliveries TO holdfast_writer;
    END IF;
END
$$;

-- Extends the function instead of repeating its text, so that it does not matter which migrations
-- have replaced it before.
ALTER FUNCTION grant_holdfast_roles() RENAME TO grant_roles_before_webhooks;
CREATE FUNCTION grant_holdfast_roles() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM grant_roles_before_webhooks();
    PERFORM grant_webhook_roles();
END
$$;

REVOKE ALL ON FUNCTION grant_webhook_roles() FROM PUBLIC;
REVOKE ALL ON FUNCTION grant_roles_before_webhooks() FROM PUBLIC;
REVOKE ALL ON FUNCTION grant_holdfast_roles() FROM PUBLIC;
SELECT grant_holdfast_roles();
