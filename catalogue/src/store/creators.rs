//! Creators: rows of the shop.

use domain::values::{CatalogueId, Description, DropName, ImageUrl, Timestamp};
use infrastructure::sql_values::time_in;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::Store;

/// The fields of a creator that the shop chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCreator {
    pub name: DropName,
    pub description: Option<Description>,
    pub image_url: Option<ImageUrl>,
}

/// A creator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creator {
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    pub image_url: Option<String>,
    pub followers: u64,
    pub created_at: Timestamp,
}

const CREATOR: &str = "
SELECT c.id, c.name, c.description, c.image_url, c.created_at,
       (SELECT coalesce(sum(f.followers), 0)::bigint FROM creator_followers f
         WHERE f.creator = c.uid) AS followers
  FROM creators c";

impl Store {
    /// Adds or replaces a creator. Returns true if it is new.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn put_creator(
        &self,
        id: &CatalogueId,
        new: &NewCreator,
    ) -> Result<bool, sqlx::Error> {
        let uid = Uuid::new_v4();
        let stored: Uuid = sqlx::query_scalar(
            "INSERT INTO creators (id, uid, name, description, image_url) \
             VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
                 description = excluded.description, image_url = excluded.image_url \
             RETURNING uid",
        )
        .bind(id.as_str())
        .bind(uid)
        .bind(new.name.as_str())
        .bind(new.description.as_ref().map(Description::as_str))
        .bind(new.image_url.as_ref().map(ImageUrl::as_str))
        .fetch_one(&self.0)
        .await?;
        Ok(stored == uid)
    }

    /// Returns one creator.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn creator(&self, id: &CatalogueId) -> Result<Option<Creator>, sqlx::Error> {
        let sql = format!("{CREATOR} WHERE c.id = $1");
        let row = sqlx::query(&sql).bind(id.as_str());
        let row = row.fetch_optional(&self.0).await?;
        row.as_ref().map(creator).transpose()
    }

    /// Returns at most `limit` creators, newest first, after `after`. Empty if there is none.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn creators(
        &self,
        after: Option<&CatalogueId>,
        limit: i64,
    ) -> Result<Vec<Creator>, sqlx::Error> {
        let below = match after {
            Some(_) => {
                "WHERE (c.created_at, c.id) < \
                       (SELECT a.created_at, a.id FROM creators a WHERE a.id = $2)"
            }
            None => "",
        };
        let sql = format!("{CREATOR} {below} ORDER BY c.created_at DESC, c.id DESC LIMIT $1");
        let mut rows = sqlx::query(&sql).bind(limit);
        if let Some(after) = after {
            rows = rows.bind(after.as_str());
        }
        let rows = rows.fetch_all(&self.0).await?;
        rows.iter().map(creator).collect()
    }

    /// Returns the ids and the names of the creators with these ids, in no particular sequence.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn creator_names(
        &self,
        ids: &[String],
    ) -> Result<Vec<(String, String)>, sqlx::Error> {
        if ids.is_empty() {
            return Ok(vec![]);
        }
        let sql = "SELECT c.id, c.name FROM creators c WHERE c.id = ANY($1)";
        sqlx::query_as(sql).bind(ids).fetch_all(&self.0).await
    }

    /// Deletes a creator; from then on it has no followers. The rows of its follows are deleted in
    /// batches afterwards ([`Store::clean_up`]). Returns false if the creator does not exist.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn delete_creator(&self, id: &CatalogueId) -> Result<bool, sqlx::Error> {
        let deleted = sqlx::query(
            "WITH deleted AS (DELETE FROM creators WHERE id = $1 RETURNING uid) \
             INSERT INTO deleted_creators (creator) SELECT uid FROM deleted",
        )
        .bind(id.as_str())
        .execute(&self.0)
        .await?;
        Ok(deleted.rows_affected() > 0)
    }
}

fn creator(row: &PgRow) -> Result<Creator, sqlx::Error> {
    Ok(Creator {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        image_url: row.try_get("image_url")?,
        followers: row.try_get::<i64, _>("followers")?.unsigned_abs(),
        created_at: time_in(row, "created_at")?.unwrap_or_default(),
    })
}
