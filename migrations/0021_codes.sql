-- Access codes: the pairs of event type and version of 0015, and one more.
CREATE OR REPLACE FUNCTION known_event_types() RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[
        'HoldPlaced 1.0', 'PurchaseConfirmed 1.0', 'HoldExpired 1.0', 'HoldReleased 1.0', 'WaitlistJoined 1.0',
        'WaitlistLeft 1.0', 'StockAdjusted 1.0', 'DropScheduled 1.0', 'DropRescheduled 1.0', 'DropCancelled 1.0',
        'HoldPlaced 0.9', 'HoldExtended 1.0', 'HoldChanged 1.0', 'PurchaseRefunded 1.0', 'DropStarted 1.0',
        'DropEnded 1.0', 'CodesCreated 1.0'
    ]
$$;
