//! Facts of the catalogue about a drop, for its description on other sites.
//!
//! Promise: a page does not wait for a database that does not respond: the facts are optional, and
//! are read at most once in [`KEPT`] for each product and creator. Limit: they may be that old.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use catalogue::store::Store;
use catalogue::variants::{Gtin, Sku, Variant};
use domain::terms::DropTerms;
use domain::values::CatalogueId;
use tokio::time::timeout;

/// How long facts are kept.
pub(super) const KEPT: Duration = Duration::from_secs(5);
/// The longest wait for the database.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// The most drops whose facts are kept.
const MOST_KEPT: usize = 1_000;

/// Facts of the catalogue about a drop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The name of the creator.
    pub(super) creator: Option<String>,
    pub(super) sku: Option<String>,
    pub(super) gtin: Option<String>,
}

/// The catalogue's ids of a drop: product, variant, creator.
type Key = [Option<String>; 3];

/// The facts that were read.
#[derive(Debug, Default)]
pub struct CatalogueFacts(Mutex<HashMap<Key, (Instant, Facts)>>);

impl CatalogueFacts {
    /// Returns the facts of a drop; without those that cannot be read now.
    pub(super) async fn of(&self, store: &Store, terms: &DropTerms) -> Facts {
        let text = |id: &Option<CatalogueId>| id.as_ref().map(|id| id.as_str().to_owned());
        let key = [&terms.product_id, &terms.variant_id, &terms.creator_id].map(text);
        if key.iter().all(Option::is_none) {
            return Facts::default();
        }
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, facts)) = kept().get(&key)
            && at.elapsed() < KEPT
        {
            return facts.clone();
        }
        let facts = timeout(LONGEST_WAIT, read(store, terms)).await;
        let facts = facts.unwrap_or_default();
        let mut all = kept();
        if all.len() >= MOST_KEPT {
            all.retain(|_, (at, _)| at.elapsed() < KEPT);
        }
        if all.len() < MOST_KEPT {
            all.insert(key, (Instant::now(), facts.clone()));
        }
        facts
    }
}

async fn read(store: &Store, terms: &DropTerms) -> Facts {
    let product = match &terms.product_id {
        Some(id) => store.product(id).await.ok().flatten(),
        None => None,
    };
    let of_product = || {
        product
            .as_ref()
            .and_then(|product| product.creator_id.as_deref())
    };
    let of_product = || of_product().and_then(|id| CatalogueId::stored(id).ok());
    let creator_id = terms.creator_id.clone().or_else(of_product);
    let creator = match creator_id {
        Some(id) => store.creator(&id).await.ok().flatten(),
        None => None,
    };
    let is_offered = |variant: &&Variant| Some(&variant.id) == terms.variant_id.as_ref();
    let variants = product.as_ref().map(|product| product.variants.as_slice());
    let variant = variants.unwrap_or_default().iter().find(is_offered);
    Facts {
        creator: creator.map(|creator| creator.name),
        sku: variant
            .and_then(|one| one.sku.as_ref().map(Sku::as_str))
            .map(str::to_owned),
        gtin: variant
            .and_then(|one| one.gtin.as_ref().map(Gtin::as_str))
            .map(str::to_owned),
    }
}
