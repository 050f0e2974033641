//! Products and their variants: rows of the shop.

use domain::values::{CatalogueId, Description, DropName, ImageUrl, Timestamp};
use infrastructure::sql_values::time_in;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{Postgres, QueryBuilder, Row as _};

use super::Store;
use crate::variants::{Variant, Variants};

/// The fields of a product that the shop chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProduct {
    pub creator_id: Option<CatalogueId>,
    pub title: DropName,
    pub description: Option<Description>,
    pub image_url: Option<ImageUrl>,
    pub variants: Variants,
}

/// A product.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    pub id: CatalogueId,
    pub creator_id: Option<String>,
    pub title: String,
    pub description: Option<String>,
    pub image_url: Option<String>,
    pub variants: Vec<Variant>,
    pub created_at: Timestamp,
}

const PRODUCT: &str = "
SELECT p.id, p.creator_id, p.title, p.description, p.image_url, p.variants, p.created_at
  FROM products p";

impl Store {
    /// Adds or replaces a product. Returns true if it is new.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn put_product(
        &self,
        id: &CatalogueId,
        new: &NewProduct,
    ) -> Result<bool, sqlx::Error> {
        // A row that this statement inserted was not deleted or locked by another one.
        let row = sqlx::query(
            "INSERT INTO products (id, creator_id, title, description, image_url, variants) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (id) DO UPDATE SET creator_id = excluded.creator_id, \
                 title = excluded.title, description = excluded.description, \
                 image_url = excluded.image_url, variants = excluded.variants \
             RETURNING xmax = 0 AS is_new",
        )
        .bind(id.as_str())
        .bind(new.creator_id.as_ref().map(CatalogueId::as_str))
        .bind(new.title.as_str())
        .bind(new.description.as_ref().map(Description::as_str))
        .bind(new.image_url.as_ref().map(ImageUrl::as_str))
        .bind(Json(new.variants.all()))
        .fetch_one(&self.0)
        .await?;
        row.try_get("is_new")
    }

    /// Returns one product.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn product(&self, id: &CatalogueId) -> Result<Option<Product>, sqlx::Error> {
        let sql = format!("{PRODUCT} WHERE p.id = $1");
        let row = sqlx::query(&sql).bind(id.as_str());
        let row = row.fetch_optional(&self.0).await?;
        row.as_ref().map(product).transpose()
    }

    /// Returns at most `limit` products, of one creator or all, newest first, after `after`. Empty
    /// if `after` does not exist.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn products(
        &self,
        creator_id: Option<&CatalogueId>,
        after: Option<&CatalogueId>,
        limit: i64,
    ) -> Result<Vec<Product>, sqlx::Error> {
        // Only the conditions that are needed: with absent parameters among them, the plan would
        // not use the index.
        let mut sql = QueryBuilder::<Postgres>::new(PRODUCT);
        sql.push(" WHERE true");
        if let Some(creator_id) = creator_id {
            sql.push(" AND p.creator_id = ")
                .push_bind(creator_id.as_str());
        }
        if let Some(after) = after {
            sql.push(" AND (p.created_at, p.id) < (SELECT a.created_at, a.id FROM products a WHERE a.id = ")
                .push_bind(after.as_str())
                .push(")");
        }
        sql.push(" ORDER BY p.created_at DESC, p.id DESC LIMIT ")
            .push_bind(limit);
        let rows = sql.build().fetch_all(&self.0).await?;
        rows.iter().map(product).collect()
    }

    /// Returns the products with these ids, in no particular sequence.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn products_named(&self, ids: &[String]) -> Result<Vec<Product>, sqlx::Error> {
        if ids.is_empty() {
            return Ok(vec![]);
        }
        let sql = format!("{PRODUCT} WHERE p.id = ANY($1)");
        let rows = sqlx::query(&sql).bind(ids).fetch_all(&self.0).await?;
        rows.iter().map(product).collect()
    }

    /// Deletes a product. Its drops keep its id. Returns false if the product does not exist.
    ///
    /// # Errors
    /// [`sqlx::Error`].
    pub async fn delete_product(&self, id: &CatalogueId) -> Result<bool, sqlx::Error> {
        let deleted = sqlx::query("DELETE FROM products WHERE id = $1").bind(id.as_str());
        Ok(deleted.execute(&self.0).await?.rows_affected() > 0)
    }
}

fn product(row: &PgRow) -> Result<Product, sqlx::Error> {
    let id: String = row.try_get("id")?;
    let Json(variants) = row.try_get("variants")?;
    Ok(Product {
        id: CatalogueId::stored(&id).map_err(|error| sqlx::Error::Decode(error.into()))?,
        creator_id: row.try_get("creator_id")?,
        title: row.try_get("title")?,
        description: row.try_get("description")?,
        image_url: row.try_get("image_url")?,
        variants,
        created_at: time_in(row, "created_at")?.unwrap_or_default(),
    })
}
