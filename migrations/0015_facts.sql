-- Orders among the lanes and deliveries of webhooks; starts and ends of drops as events
-- (docs/decisions/0062-facts-of-orders-and-drops.md).

-- Orders whose events an endpoint has not received although its position is behind them, as
-- webhook_lanes is for drops. A table of its own: a server of an earlier release would look for a
-- drop with the order's id, find none, and remove the row.
CREATE TABLE webhook_order_lanes (
    endpoint_id uuid     NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    order_id    uuid     NOT NULL,
    position    bigint   NOT NULL CHECK (position > 0),
    part        smallint NOT NULL CHECK (part >= 0),
    revision    bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (endpoint_id, order_id)
);

-- Of a delivery in the lane of an order, which has no drop.
ALTER TABLE webhook_deliveries
    ADD COLUMN order_id uuid,
    ADD CONSTRAINT webhook_deliveries_stream CHECK (drop_id IS NULL OR order_id IS NULL);

CREATE OR REPLACE FUNCTION grant_webhook_roles() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'holdfast_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE
           ON webhook_endpoints, webhook_secrets, webhook_lanes, webhook_order_lanes, webhook_deliveries
           TO holdfast_writer;
    END IF;
END
$$;
SELECT grant_holdfast_roles();

-- The pairs of event type and version of 0009, and two more.
CREATE OR REPLACE FUNCTION known_event_types() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[
        'HoldPlaced 1.0', 'PurchaseConfirmed 1.0', 'HoldExpired 1.0', 'HoldReleased 1.0', 'WaitlistJoined 1.0',
        'WaitlistLeft 1.0', 'StockAdjusted 1.0', 'DropScheduled 1.0', 'DropRescheduled 1.0', 'DropCancelled 1.0',
        'HoldPlaced 0.9', 'HoldExtended 1.0', 'HoldChanged 1.0', 'PurchaseRefunded 1.0', 'DropStarted 1.0',
        'DropEnded 1.0'
    ]
$$;
