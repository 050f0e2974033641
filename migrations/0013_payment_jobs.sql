-- Data with which servers settle payments at their providers. The log has the facts; these tables
-- have the providers' references, which an erasure removes, and the work that follows from the
-- facts (docs/decisions/0064-payments-are-settled-by-jobs.md).

-- Everything of the log up to here has its rows below. Before this migration the log has no
-- payment.
CREATE TABLE payment_follower (
    is_only  boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    position bigint  NOT NULL CHECK (position >= 0)
);
INSERT INTO payment_follower (position) SELECT position FROM log_head;

-- Each PaymentStarted. A start that the provider has answered may be here before the follower.
CREATE TABLE payment_starts (
    payment_id         uuid        PRIMARY KEY,
    order_id           uuid        NOT NULL,
    provider           text        NOT NULL,
    amount             bigint      NOT NULL,
    currency           text        NOT NULL,
    -- Of the intent that the start created; NULL until the provider has answered.
    provider_reference text,
    -- An intent of the payment was authorised or paid.
    succeeded          boolean     NOT NULL DEFAULT false,
    started_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX payment_starts_of_order ON payment_starts (order_id);
CREATE INDEX payment_starts_by_reference ON payment_starts (provider, provider_reference);

-- The reference of each intent, by the digest that the log has.
CREATE TABLE payment_intents (
    intent             bytea PRIMARY KEY,
    payment_id         uuid  NOT NULL,
    order_id           uuid  NOT NULL,
    provider           text  NOT NULL,
    provider_reference text  NOT NULL
);
CREATE INDEX payment_intents_of_order ON payment_intents (order_id);
CREATE INDEX payment_intents_by_reference ON payment_intents (provider, provider_reference);

-- A job has the id of the thing that it is about, so deriving it again adds nothing.
CREATE TABLE payment_jobs (
    id               uuid        PRIMARY KEY,
    kind             text        NOT NULL
        CHECK (kind IN ('payment_capture', 'payment_cancel', 'payment_unknown', 'refund')),
    order_id         uuid        NOT NULL,
    payment_id       uuid        NOT NULL,
    -- NULL for a cancellation.
    intent           bytea       CHECK ((intent IS NULL) = (kind = 'payment_cancel')),
    provider         text        NOT NULL,
    amount           bigint      NOT NULL,
    currency         text        NOT NULL,
    -- Of a refund: late, double, wrong_amount, order_over or return.
    cause            text        CHECK ((cause IS NOT NULL) = (kind = 'refund')),
    -- Names the refund at the provider: another one after a refund that the provider has failed.
    operation_id     uuid        CHECK ((operation_id IS NOT NULL) = (kind = 'refund')),
    operation_failed boolean     NOT NULL DEFAULT false,
    status           text        NOT NULL CHECK (status IN ('pending', 'failed', 'done')),
    attempts         integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at  timestamptz CHECK ((next_attempt_at IS NOT NULL) = (status = 'pending')),
    last_error       text,
    -- Of the event that caused the job.
    position         bigint      NOT NULL CHECK (position >= 0),
    -- The server that works on it, until then, by this database's clock.
    lease_holder     uuid,
    lease_until      timestamptz,
    -- An administrator has decided about it.
    cancelled_at     timestamptz,
    created_at       timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
    finished_at      timestamptz CHECK ((finished_at IS NULL) = (status = 'pending'))
);
CREATE INDEX payment_jobs_due ON payment_jobs (next_attempt_at) WHERE status = 'pending';
CREATE INDEX payment_jobs_listed ON payment_jobs (position DESC, id DESC);
CREATE INDEX payment_jobs_of_order ON payment_jobs (order_id);
CREATE INDEX payment_jobs_by_operation ON payment_jobs (operation_id) WHERE operation_id IS NOT NULL;

-- From which the demo's references and its webhook secret are derived, on every server alike.
CREATE TABLE payment_demo_seed (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    seed    text    NOT NULL CHECK (length(seed) >= 32)
);

-- The tables contain a secret and references of payments: for servers only.
CREATE FUNCTION grant_payment_roles() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'holdfast_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE
           ON payment_follower, payment_starts, payment_intents, payment_jobs TO holdfast_writer;
        GRANT SELECT, INSERT ON payment_demo_seed TO holdfast_writer;
    END IF;
END
$$;

-- As in 0011_webhooks.sql.
ALTER FUNCTION grant_holdfast_roles() RENAME TO grant_roles_before_payments;
CREATE FUNCTION grant_holdfast_roles() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM grant_roles_before_payments();
    PERFORM grant_payment_roles();
END
$$;

REVOKE ALL ON FUNCTION grant_payment_roles() FROM PUBLIC;
REVOKE ALL ON FUNCTION grant_roles_before_payments() FROM PUBLIC;
REVOKE ALL ON FUNCTION grant_holdfast_roles() FROM PUBLIC;
SELECT grant_holdfast_roles();
