-- Changes of holds in place, and refunds: the pairs of event type and version of 0007, and three
-- more.
CREATE OR REPLACE FUNCTION known_event_types() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[
        'HoldPlaced 1.0', 'PurchaseConfirmed 1.0', 'HoldExpired 1.0', 'HoldReleased 1.0', 'WaitlistJoined 1.0',
        'WaitlistLeft 1.0', 'StockAdjusted 1.0', 'DropScheduled 1.0', 'DropRescheduled 1.0', 'DropCancelled 1.0',
        'HoldPlaced 0.9', 'HoldExtended 1.0', 'HoldChanged 1.0', 'PurchaseRefunded 1.0'
    ]
$$;

-- Units that were refunded: by drop, by buyer, and by the minute of the purchase. To get the units
-- that stayed sold, a reader of the two latter subtracts them.
ALTER TABLE live_stock ADD COLUMN refunded bigint NOT NULL DEFAULT 0 CHECK (refunded >= 0);
ALTER TABLE top_purchasers ADD COLUMN refunded bigint NOT NULL DEFAULT 0 CHECK (refunded >= 0);
ALTER TABLE sales_timeline ADD COLUMN refunded bigint NOT NULL DEFAULT 0 CHECK (refunded >= 0);
-- A rebuild folds the log in parts. A part may have the refund of a purchase in an earlier part.
ALTER TABLE top_purchasers DROP CONSTRAINT top_purchasers_quantity_check;
ALTER TABLE top_purchasers ADD CHECK (quantity >= 0);

-- The log has none of these events yet, so the rows are already those of version 2 of the folds: no
-- rebuild is necessary.
UPDATE projection_checkpoints SET fold_version = 2
 WHERE name IN ('live_stock', 'top_purchasers', 'sales_timeline') AND fold_version = 1;
