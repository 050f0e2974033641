-- Money that leaves the shop at a provider without a request of Holdfast, references of payments
-- that may still be refunded, and jobs that an administrator cancels
-- (docs/decisions/0066-actions-at-the-provider.md).

-- A refund that a person made at the provider, or a dispute. The id is derived from the provider
-- and its reference, so reports that are repeated or overtake each other are one row.
CREATE TABLE payment_withdrawals (
    id                 uuid        PRIMARY KEY,
    kind               text        NOT NULL CHECK (kind IN ('refund', 'dispute')),
    provider           text        NOT NULL,
    -- Of the refund or the dispute, for a person who looks it up there.
    provider_reference text        NOT NULL,
    -- The digest of the intent whose money it is.
    intent             bytea       NOT NULL,
    order_id           uuid        NOT NULL,
    payment_id         uuid        NOT NULL,
    amount             bigint      NOT NULL CHECK (amount >= 0),
    currency           text        NOT NULL,
    -- done: the buyer has the money. undone: the refund failed, or the shop won the dispute.
    state              text        NOT NULL CHECK (state IN ('pending', 'done', 'undone')),
    changed_at         timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
    -- An administrator has closed it: it pays no refund any more.
    closed_at          timestamptz
);
CREATE INDEX payment_withdrawals_of_intent ON payment_withdrawals (intent);
CREATE INDEX payment_withdrawals_of_order ON payment_withdrawals (order_id);

-- The part of a refund that a withdrawal has paid.
CREATE TABLE payment_coverage (
    withdrawal_id uuid   NOT NULL REFERENCES payment_withdrawals ON DELETE CASCADE,
    refund_id     uuid   NOT NULL,
    amount        bigint NOT NULL CHECK (amount > 0),
    PRIMARY KEY (withdrawal_id, refund_id)
);
CREATE INDEX payment_coverage_of_refund ON payment_coverage (refund_id);

-- Orders whose events were passed while a server could not apply them: rows and jobs follow from
-- the event at this position and the later ones once the order is applied again.
CREATE TABLE payment_withheld_orders (
    order_id uuid   PRIMARY KEY,
    position bigint NOT NULL CHECK (position > 0)
);

-- All of the money was returned because it bought nothing, so no refund follows.
ALTER TABLE payment_intents ADD COLUMN is_returned boolean NOT NULL DEFAULT false;
UPDATE payment_intents i SET is_returned = true
 WHERE EXISTS (SELECT 1 FROM payment_jobs j WHERE j.intent = i.intent AND j.kind = 'refund' AND j.cause <> 'return');

-- An administrator has cancelled a job that was given up: it needs no attention any more. Before
-- this migration a cancelled job needed none.
ALTER TABLE payment_jobs ADD COLUMN closed_at timestamptz;
UPDATE payment_jobs SET closed_at = cancelled_at;

CREATE OR REPLACE FUNCTION grant_payment_roles() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'holdfast_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE
           ON payment_follower, payment_starts, payment_intents, payment_jobs, payment_withdrawals, payment_coverage,
              payment_withheld_orders
           TO holdfast_writer;
        GRANT SELECT, INSERT ON payment_demo_seed TO holdfast_writer;
    END IF;
END
$$;
SELECT grant_holdfast_roles();
