-- Creators, products, follows and reminders (docs/decisions/0069-the-catalogue-has-tables.md).
-- They decide nothing about stock, so they are rows and not events. Follows and reminders are
-- personal data: an erasure deletes them.

CREATE TABLE creators (
    -- The shop's.
    id          text        COLLATE "C" PRIMARY KEY,
    -- Follows refer to this, so that those of a deleted creator never count for a later one with
    -- the same id.
    uid         uuid        NOT NULL UNIQUE,
    name        text        NOT NULL,
    description text,
    image_url   text,
    created_at  timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp())
);
CREATE INDEX creators_newest_first ON creators (created_at DESC, id DESC);

-- The number of followers of a creator, in parts: buyers of different shards follow one creator
-- without waiting for each other. A sum of 16 rows does not grow with the followers.
CREATE TABLE creator_followers (
    creator   uuid     NOT NULL,
    shard     smallint NOT NULL CHECK (shard BETWEEN 0 AND 15),
    followers bigint   NOT NULL CHECK (followers >= 0),
    PRIMARY KEY (creator, shard)
);

-- Creators whose follows are still to be deleted, in batches.
CREATE TABLE deleted_creators (
    creator    uuid        PRIMARY KEY,
    deleted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE products (
    id          text        COLLATE "C" PRIMARY KEY,
    -- Not checked: the shop may add products and creators in any order.
    creator_id  text        COLLATE "C",
    title       text        NOT NULL,
    description text,
    image_url   text,
    -- [{id, name, sku, gtin}]
    variants    json        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp())
);
CREATE INDEX products_newest_first ON products (created_at DESC, id DESC);
CREATE INDEX products_of_creator ON products (creator_id, created_at DESC, id DESC);

-- Buyers with follows or reminders. Each change of theirs locks this row first.
CREATE TABLE following_buyers (
    -- As buyers are compared.
    buyer    text COLLATE "C" PRIMARY KEY,
    -- The account of the shop: its spelling without regard to case.
    account  text COLLATE "C" NOT NULL,
    -- As it was first recorded.
    buyer_id text NOT NULL
);

CREATE TABLE follows (
    buyer       text        COLLATE "C" NOT NULL,
    creator     uuid        NOT NULL,
    -- The row of creator_followers in which it is counted.
    shard       smallint    NOT NULL,
    followed_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
    -- The head of the log at that time: later events are announced.
    position    bigint      NOT NULL CHECK (position >= 0),
    PRIMARY KEY (buyer, creator)
);
CREATE INDEX follows_of_creator ON follows (creator, followed_at DESC, buyer DESC);

CREATE TABLE reminders (
    buyer      text        COLLATE "C" NOT NULL,
    drop_id    uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
    position   bigint      NOT NULL CHECK (position >= 0),
    PRIMARY KEY (buyer, drop_id)
);

-- The tables contain buyers' ids: for servers only.
CREATE FUNCTION grant_catalogue_roles() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'holdfast_writer') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE
           ON creators, creator_followers, deleted_creators, products, following_buyers, follows, reminders
           TO holdfast_writer;
    END IF;
END
$$;

-- As in 0011_webhooks.sql.
ALTER FUNCTION grant_holdfast_roles() RENAME TO grant_roles_before_catalogue;
CREATE FUNCTION grant_holdfast_roles() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM grant_roles_before_catalogue();
    PERFORM grant_catalogue_roles();
END
$$;

REVOKE ALL ON FUNCTION grant_catalogue_roles() FROM PUBLIC;
REVOKE ALL ON FUNCTION grant_roles_before_catalogue() FROM PUBLIC;
REVOKE ALL ON FUNCTION grant_holdfast_roles() FROM PUBLIC;
SELECT grant_holdfast_roles();
