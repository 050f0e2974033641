//! Follows: which buyers follow which creators.
//!
//! Promise: the number of a creator's followers is that of its rows, under any concurrency: both
//! change in one transaction. A buyer's limit is exact: the buyer's changes are made one after
//! another, because each locks the buyer's row first.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::values::{BuyerId, CatalogueId, DropId, Position, Timestamp};
use infrastructure::sql_values::{from_sql, time_in};
use sha2::{Digest, Sha256};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{Actor, Chosen, Store, forget_idle, lock_buyer, lock_known_buyer};

/// The most creators that a buyer follows.
pub const MOST_FOLLOWS: u32 = 1_000;

/// Rows among which the number of a creator's followers is divided.
const SHARDS: u8 = 16;

/// A creator that a buyer follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    pub creator_id: String,
    pub name: String,
    pub image_url: Option<String>,
    pub followed_at: Timestamp,
}

/// A buyer that follows a creator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    pub buyer_id: BuyerId,
    pub followed_at: Timestamp,
}

/// Where a page of followers begins: after this time and buyer.
#[derive(Debug, Clone)]
pub struct Start(DateTime<Utc>, Arc<str>);

/// The follows and reminders of a buyer, each with the position after which events are announced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choices {
    /// The account that chose.
    pub account: String,
    pub creators: Vec<(CatalogueId, Position)>,
    pub drops: Vec<(DropId, Position)>,
}

impl Store {
    /// Lets a buyer follow a creator.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn follow(
        &self,
        actor: &Actor,
        creator_id: &CatalogueId,
    ) -> Result<Chosen, sqlx::Error> {
        let buyer = actor.buyer_id.comparable();
        let mut transaction = self.0.begin().await?;
        if !lock_buyer(&mut transaction, actor).await? {
            return Ok(Chosen::OtherAccount);
        }
        // Until the commit the creator cannot be deleted, so none of its follows is left over.
        let creator =
            sqlx::query_scalar::<_, Uuid>("SELECT uid FROM creators WHERE id = $1 FOR KEY SHARE");
        let creator = creator.bind(creator_id.as_str());
        let Some(creator) = creator.fetch_optional(&mut *transaction).await? else {
            return Ok(Chosen::NotFound);
        };
        let inserted = sqlx::query(
            "INSERT INTO follows (buyer, creator, shard, position) \
             SELECT $1, $2, $3, h.position FROM log_head h \
             ON CONFLICT (buyer, creator) DO NOTHING",
        )
        .bind(&*buyer)
        .bind(creator)
        .bind(shard_of(&buyer))
        .execute(&mut *transaction)
        .await?;
        if inserted.rows_affected() == 0 {
            return Ok(Chosen::Done);
        }
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM follows f JOIN creators c ON c.uid = f.creator \
              WHERE f.buyer = $1",
        )
        .bind(&*buyer)
        .fetch_one(&mut *transaction)
        .await?;
        if count > i64::from(MOST_FOLLOWS) {
            return Ok(Chosen::Full);
        }
        // Last, because other buyers of the shard wait for this row.
        sqlx::query(
            "INSERT INTO creator_followers AS f (creator, shard, followers) VALUES ($1, $2, 1) \
             ON CONFLICT (creator, shard) DO UPDATE SET followers = f.followers + 1",
        )
        .bind(creator)
        .bind(shard_of(&buyer))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(Chosen::Done)
    }

    /// Lets a buyer follow a creator no more. Returns false if the buyer did not follow it.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn unfollow(
        &self,
        actor: &Actor,
        creator_id: &CatalogueId,
    ) -> Result<bool, sqlx::Error> {
        let buyer = actor.buyer_id.comparable();
        let mut transaction = self.0.begin().await?;
        if !lock_known_buyer(&mut transaction, actor).await? {
            return Ok(false);
        }
        let uncounted = sqlx::query(
            "WITH ended AS ( \
                 DELETE FROM follows WHERE buyer = $1 \
                    AND creator = (SELECT uid FROM creators WHERE id = $2) \
                 RETURNING creator, shard) \
             UPDATE creator_followers c SET followers = c.followers - 1 FROM ended \
              WHERE c.creator = ended.creator AND c.shard = ended.shard",
        )
        .bind(&*buyer)
        .bind(creator_id.as_str())
        .execute(&mut *transaction)
        .await?;
        forget_idle(&mut transaction, &[buyer.to_string()]).await?;
        transaction.commit().await?;
        Ok(uncounted.rows_affected() > 0)
    }

    /// Returns at most `limit` creators that a buyer follows, the newest follow first, after
    /// `after`. Empty if the buyer does not follow that one.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn follows(
        &self,
        actor: &Actor,
        after: Option<&CatalogueId>,
        limit: i64,
    ) -> Result<Vec<Follow>, sqlx::Error> {
        // A buyer's follows are bounded, so they are filtered without an index.
        let rows = sqlx::query(
            "WITH own AS ( \
                 SELECT c.id, c.name, c.image_url, f.followed_at \
                   FROM following_buyers b JOIN follows f ON f.buyer = b.buyer \
                   JOIN creators c ON c.uid = f.creator \
                  WHERE b.buyer = $1 AND ($2::text IS NULL OR b.account = $2)) \
             SELECT * FROM own \
              WHERE $3::text IS NULL OR (followed_at, id) < \
                    (SELECT a.followed_at, a.id FROM own a WHERE a.id = $3) \
              ORDER BY followed_at DESC, id DESC LIMIT $4",
        )
        .bind(&*actor.buyer_id.comparable())
        .bind(
            actor
                .is_account
                .then(|| actor.buyer_id.spelling().to_string()),
        )
        .bind(after.map(CatalogueId::as_str))
        .bind(limit)
        .fetch_all(&self.0)
        .await?;
        let follow = |row: &PgRow| {
            Ok(Follow {
                creator_id: row.try_get("id")?,
                name: row.try_get("name")?,
                image_url: row.try_get("image_url")?,
                followed_at: time_in(row, "followed_at")?.unwrap_or_default(),
            })
        };
        rows.iter().map(follow).collect()
    }

    /// Returns where a list of followers continues after a buyer; `None` if they do not follow the
    /// creator.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn follower(
        &self,
        creator_id: &CatalogueId,
        buyer_id: &BuyerId,
    ) -> Result<Option<Start>, sqlx::Error> {
        let buyer = buyer_id.comparable();
        let followed_at = sqlx::query_scalar(
            "SELECT f.followed_at FROM creators c JOIN follows f ON f.creator = c.uid \
              WHERE c.id = $1 AND f.buyer = $2",
        )
        .bind(creator_id.as_str())
        .bind(&*buyer)
        .fetch_optional(&self.0)
        .await?;
        Ok(followed_at.map(|followed_at| Start(followed_at, buyer)))
    }

    /// Returns at most `limit` followers of a creator, the newest follow first, after `after`;
    /// `None` if the creator does not exist. The cost does not depend on their number: the page is
    /// read from the index before anything is joined to it.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn followers(
        &self,
        creator_id: &CatalogueId,
        after: Option<Start>,
        limit: i64,
    ) -> Result<Option<Vec<Follower>>, sqlx::Error> {
        let creator = sqlx::query_scalar::<_, Uuid>("SELECT uid FROM creators WHERE id = $1");
        let creator = creator.bind(creator_id.as_str());
        let Some(creator) = creator.fetch_optional(&self.0).await? else {
            return Ok(None);
        };
        let below = match &after {
            Some(_) => "AND (f.followed_at, f.buyer) < ($3, $4)",
            None => "",
        };
        let sql = format!(
            "SELECT b.buyer_id, page.followed_at FROM \
                 (SELECT f.buyer, f.followed_at FROM follows f WHERE f.creator = $1 {below} \
                   ORDER BY f.followed_at DESC, f.buyer DESC LIMIT $2) page \
               JOIN following_buyers b ON b.buyer = page.buyer \
              ORDER BY page.followed_at DESC, page.buyer DESC"
        );
        let mut rows = sqlx::query(&sql).bind(creator).bind(limit);
        if let Some(Start(followed_at, buyer)) = after {
            rows = rows.bind(followed_at).bind(buyer.to_string());
        }
        let rows = rows.fetch_all(&self.0).await?;
        rows.iter()
            .map(follower)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Returns the choices of these buyers, by their comparable id; those without any are omitted.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn choices(
        &self,
        buyers: &[Arc<str>],
    ) -> Result<HashMap<Arc<str>, Choices>, sqlx::Error> {
        let named: Vec<&str> = buyers.iter().map(AsRef::as_ref).collect();
        let rows = sqlx::query(
            "SELECT b.buyer, b.account, c.id AS creator_id, NULL::uuid AS drop_id, f.position \
               FROM following_buyers b JOIN follows f ON f.buyer = b.buyer \
               JOIN creators c ON c.uid = f.creator WHERE b.buyer = ANY($1) \
             UNION ALL \
             SELECT b.buyer, b.account, NULL, r.drop_id, r.position \
               FROM following_buyers b JOIN reminders r ON r.buyer = b.buyer \
              WHERE b.buyer = ANY($1)",
        )
        .bind(named)
        .fetch_all(&self.0)
        .await?;
        let mut found = HashMap::<Arc<str>, Choices>::new();
        for row in &rows {
            let buyer: String = row.try_get("buyer")?;
            let choices = found.entry(buyer.into()).or_default();
            choices.account = row.try_get("account")?;
            let position = from_sql(row.try_get("position")?);
            let creator_id: Option<String> = row.try_get("creator_id")?;
            let creator_id = creator_id.and_then(|id| CatalogueId::stored(&id).ok());
            choices.creators.extend(creator_id.map(|id| (id, position)));
            let drop_id: Option<Uuid> = row.try_get("drop_id")?;
            choices
                .drops
                .extend(drop_id.map(|id| (DropId(id), position)));
        }
        Ok(found)
    }

    /// Returns the choices of a buyer.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn choices_of(&self, actor: &Actor) -> Result<Choices, sqlx::Error> {
        let buyer = actor.buyer_id.comparable();
        let found = self.choices(&[Arc::clone(&buyer)]).await?.remove(&buyer);
        Ok(found.unwrap_or_default().of(actor))
    }
}

impl Choices {
    /// Returns the choices, unless they are those of another account.
    #[must_use]
    pub fn of(self, actor: &Actor) -> Self {
        match actor.is_account && *self.account != *actor.buyer_id.spelling() {
            true => Self::default(),
            false => self,
        }
    }
}

fn follower(row: &PgRow) -> Result<Follower, sqlx::Error> {
    let buyer_id: String = row.try_get("buyer_id")?;
    let buyer_id = BuyerId::stored(&buyer_id);
    Ok(Follower {
        buyer_id: buyer_id.map_err(|error| sqlx::Error::Decode(error.into()))?,
        followed_at: time_in(row, "followed_at")?.unwrap_or_default(),
    })
}

/// Returns the row in which a follower is counted.
fn shard_of(buyer: &str) -> i16 {
    i16::from(Sha256::digest(buyer.as_bytes())[0] % SHARDS)
}
