-- The read models: each table is one pure fold of the log (projections/src), and may be dropped and rebuilt at any time.
-- `position` is the place in the log of the last event that changed the row.

-- How far each projection has read, committed together with its rows.
CREATE TABLE projection_checkpoints (
    name       text        PRIMARY KEY,
    position   bigint      NOT NULL CHECK (position >= 0),
    -- Why it stopped at the event after `position`; NULL while it runs.
    stopped    text,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- A drop as shoppers see it, and the claim that the product stands on, checked by the database as well.
CREATE TABLE live_stock (
    drop_id       uuid        PRIMARY KEY,
    terms         json        NOT NULL,
    terms_version integer     NOT NULL,
    scheduled_at  timestamptz NOT NULL,
    cancelled_at  timestamptz,
    total         bigint      NOT NULL CHECK (total >= 0),
    available     bigint      NOT NULL CHECK (available >= 0),
    held          bigint      NOT NULL CHECK (held >= 0),
    sold          bigint      NOT NULL CHECK (sold >= 0),
    -- Units that were held and came back, ever.
    expired       bigint      NOT NULL CHECK (expired >= 0),
    released      bigint      NOT NULL CHECK (released >= 0),
    -- Buyers in line.
    waitlist_length bigint    NOT NULL CHECK (waitlist_length >= 0),
    position      bigint      NOT NULL,
    CONSTRAINT units_are_conserved CHECK (available + held + sold = total)
);

CREATE TABLE top_purchasers (
    drop_id           uuid        NOT NULL,
    buyer             uuid        NOT NULL,
    quantity          bigint      NOT NULL CHECK (quantity > 0),
    last_purchased_at timestamptz NOT NULL,
    position          bigint      NOT NULL,
    PRIMARY KEY (drop_id, buyer)
);
CREATE INDEX top_purchasers_by_quantity ON top_purchasers (drop_id, quantity DESC, last_purchased_at);

-- Per drop and minute, by when it happened (an expiry: when the hold was over): units, and how many holds they were in.
CREATE TABLE sales_timeline (
    drop_id             uuid        NOT NULL,
    minute              timestamptz NOT NULL,
    held                bigint      NOT NULL CHECK (held >= 0),
    sold                bigint      NOT NULL CHECK (sold >= 0),
    expired             bigint      NOT NULL CHECK (expired >= 0),
    released            bigint      NOT NULL CHECK (released >= 0),
    holds_placed        bigint      NOT NULL CHECK (holds_placed >= 0),
    purchases_confirmed bigint      NOT NULL CHECK (purchases_confirmed >= 0),
    holds_expired       bigint      NOT NULL CHECK (holds_expired >= 0),
    holds_released      bigint      NOT NULL CHECK (holds_released >= 0),
    position            bigint      NOT NULL,
    PRIMARY KEY (drop_id, minute)
);
CREATE INDEX sales_timeline_by_minute ON sales_timeline (minute);
