-- Web Push (docs/decisions/0078-web-push-is-sent-by-jobs.md): subscriptions of buyers' browsers,
-- and the jobs that send notifications to them.

-- The key by which push services recognise this shop, unless the settings have one. Here and not
-- in a data directory, because browsers subscribe for one key, and every server signs with it.
CREATE TABLE push_key (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    -- PKCS #8, DER.
    pkcs8   bytea   NOT NULL
);

-- Personal data: an erasure deletes it. A change locks the row of its buyer in following_buyers.
CREATE TABLE push_subscriptions (
    id              uuid        PRIMARY KEY,
    -- SHA-256 of the endpoint, which has thousands of bytes at some push services. A browser has
    -- one subscription, of the buyer who used it last.
    endpoint_digest bytea       NOT NULL UNIQUE CHECK (octet_length(endpoint_digest) = 32),
    endpoint        text        NOT NULL,
    -- Of the browser: a point of P-256, and the authentication secret.
    public_key      bytea       NOT NULL CHECK (octet_length(public_key) = 65),
    auth            bytea       NOT NULL CHECK (octet_length(auth) = 16),
    -- The shop's public key that the browser subscribed for.
    vapid_key       bytea       NOT NULL CHECK (octet_length(vapid_key) = 65),
    -- As buyers are compared.
    buyer           text        COLLATE "C" NOT NULL,
    -- The account of the shop, if the buyer had a token; NULL: any spelling of the buyer.
    account         text        COLLATE "C",
    -- Messages may have ids of orders: the buyer had a token.
    sees_ids        boolean     NOT NULL,
    -- The head of the log at that time: later events are announced.
    position        bigint      NOT NULL CHECK (position >= 0),
    expires_at      timestamptz,
    created_at      timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp())
);
CREATE INDEX push_subscriptions_of_buyer ON push_subscriptions (buyer);

-- Everything of the log up to here has its jobs below.
CREATE TABLE push_follower (
    is_only  boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    position bigint  NOT NULL CHECK (position >= 0)
);
INSERT INTO push_follower (position) SELECT position FROM log_head;

-- A job is a notification, which is sent to its subscriptions in the order of their ids; or a
-- message to one subscription that failed. So an event that all followers are notified of is one
-- row. The id is derived from the notification and the subscription.
CREATE TABLE push_jobs (
    id              uuid        PRIMARY KEY,
    event_type      text        NOT NULL,
    -- Of the event.
    position        bigint      NOT NULL CHECK (position >= 0),
    drop_id         uuid,
    order_id        uuid,
    -- NULL: all subscriptions of the notification's readers.
    subscription_id uuid        REFERENCES push_subscriptions ON DELETE CASCADE,
    -- The notification was sent to the subscriptions up to this one.
    sent_up_to      uuid,
    -- The readers are followers, and not one buyer.
    is_fan_out      boolean     NOT NULL,
    status          text        NOT NULL CHECK (status IN ('pending', 'failed', 'done')),
    attempts        integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at timestamptz CHECK ((next_attempt_at IS NOT NULL) = (status = 'pending')),
    last_error      text,
    -- Later, the message is not of use any more.
    expires_at      timestamptz NOT NULL,
    -- The server that works on it, until then, by this database's clock.
    lease_holder    uuid,
    lease_until     timestamptz,
    -- An administrator has decided about it.
    cancelled_at    timestamptz,
    created_at      timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
    finished_at     timestamptz CHECK ((finished_at IS NULL) = (status = 'pending'))
);
CREATE INDEX push_jobs_due ON push_jobs (is_fan_out, (subscription_id IS NOT NULL), next_attempt_at)
    WHERE status = 'pending';
CREATE INDEX push_jobs_listed ON push_jobs (position DESC, id DESC);
CREATE INDEX push_jobs_of_drop ON push_jobs (drop_id, event_type, created_at) WHERE is_fan_out;
CREATE INDEX push_jobs_of_subscription ON push_jobs (subscription_id) WHERE subscription_id IS NOT NULL;
CREATE INDEX push_jobs_finished ON push_jobs (finished_at) WHERE status <> 'pending';

-- The tables contain a private key and addresses of browsers: for servers only.
CREATE FUNCTION grant_push_roles() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'holdfast_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE
           ON push_subscriptions, push_follower, push_jobs TO holdfast_writer;
        GRANT SELECT, INSERT ON push_key TO holdfast_writer;
    END IF;
END
$$;

-- As in 0011_webhooks.sql.
ALTER FUNCTION grant_holdfast_roles() RENAME TO grant_roles_before_push;
CREATE FUNCTION grant_holdfast_roles() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM grant_roles_before_push();
    PERFORM grant_push_roles();
END
$$;

REVOKE ALL ON FUNCTION grant_push_roles() FROM PUBLIC;
REVOKE ALL ON FUNCTION grant_roles_before_push() FROM PUBLIC;
REVOKE ALL ON FUNCTION grant_holdfast_roles() FROM PUBLIC;
SELECT grant_holdfast_roles();
