-- Who was erased, as the log knows them: pseudonyms, and nothing that leads to a person. `position` is that of the event
-- BuyerErased, by which running engines learn that they have somebody to forget.
CREATE TABLE erasures (
    position bigint NOT NULL CHECK (position > 0),
    drop_id  uuid   NOT NULL,
    buyer    uuid   NOT NULL,
    PRIMARY KEY (position, drop_id, buyer)
);

-- Counts how often the table was replaced by a rebuilt one, so that who runs it throws away what it remembers of the rows.
ALTER TABLE projection_checkpoints ADD COLUMN generation bigint NOT NULL DEFAULT 0;

SELECT grant_holdfast_roles();
