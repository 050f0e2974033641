-- How many wait in a drop's line. Nobody did before this release, so the rows that are there are right as they are.
ALTER TABLE live_stock
    ADD COLUMN waitlist_length bigint NOT NULL DEFAULT 0 CHECK (waitlist_length >= 0);
