//! Product feeds of the public drops, for the catalogues of other services.
//!
//! Promise: a feed has the drops that anyone can buy or will be able to: those of every list that
//! are on sale, upcoming, sold out or paused, and need no access code. A value never breaks a line.
//! Limit: at most [`MOST_IN_FEED`] drops in one file, the newest first; each slice is read for
//! itself, so a drop that changes meanwhile may be in the state before or after its change.
//!
//! Source: <https://support.google.com/merchants/answer/7052112>, and
//! docs/decisions/0081-the-feed-is-a-table-of-public-drops.md.

use std::collections::{BTreeMap, BTreeSet};

use ::catalogue::store::Product;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};
use csv::{QuoteStyle, WriterBuilder};
use domain::status::DropStatus;
use domain::values::{Access, CatalogueId, Description, DropId, ImageUrl, Timestamp};
use projections::live_stock::LiveStockRow;
use projections::views::{DropView, NoSuchDrop};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::App;
use crate::base_path::at;
use crate::brand::figures::major;
use crate::extract::{Fresh, Limit, Query};
use crate::problem::Problem;
use crate::render::Representation;
use crate::viewer::Viewer;
use crate::webhook_routes::{failed, unknown_start};

/// The most drops in one file.
pub(crate) const MOST_IN_FEED: usize = 10_000;
/// The number of drops that are read together.
const SLICE: usize = 500;
/// The statuses of drops in a feed.
const STATUSES: [DropStatus; 4] = [
    DropStatus::Live,
    DropStatus::Scheduled,
    DropStatus::SoldOut,
    DropStatus::Paused,
];
pub(crate) const TSV: &str = "text/tab-separated-values; charset=utf-8";

/// The attributes of Google's product data specification, in the sequence of the columns.
const COLUMNS: [&str; 13] = [
    "id",
    "title",
    "description",
    "link",
    "image_link",
    "availability",
    "availability_date",
    "price",
    "brand",
    "gtin",
    "mpn",
    "item_group_id",
    "identifier_exists",
];
/// The longest values that the specification permits, in characters.
const MAX_TITLE: usize = 150;
const MAX_DESCRIPTION: usize = 5_000;
const MAX_BRAND: usize = 70;
const MAX_GROUP: usize = 50;

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct FeedParams {
    /// The maximum number of drops.
    #[schemars(extend("default" = MOST_IN_FEED))]
    limit: Option<Limit<MOST_IN_FEED>>,
    /// The id of the last drop of the previous file.
    starting_after: Option<DropId>,
}

impl Query for FeedParams {}

/// `GET /v1/feeds/google.tsv`
pub(crate) async fn google(
    State(app): State<App>,
    Fresh(params): Fresh<FeedParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = params.limit.map_or(MOST_IN_FEED, |Limit(limit)| limit);
    let now = app.now();
    let shows =
        |row: &LiveStockRow| Viewer::Public.lists_row(row) && row.terms.access == Access::Open;
    let origin = app.brand.origin(&headers);
    let mut writer = WriterBuilder::new()
        .delimiter(b'\t')
        .quote_style(QuoteStyle::Necessary)
        .from_writer(vec![]);
    let unwritable = |error: csv::Error| Problem::internal(&error);
    writer.write_record(COLUMNS).map_err(unwritable)?;
    let (mut after, mut left) = (params.starting_after, limit);
    if let Some(start) = after {
        let is_found = app
            .views
            .terms(start)
            .is_some_and(|terms| Viewer::Public.finds(&terms));
        is_found
            .then_some(())
            .ok_or_else(|| unknown_start("a drop"))?;
    }
    while left > 0 {
        let most = left.min(SLICE);
        // Each slice takes the lock for itself.
        let page = app.views.drops_page_of(&STATUSES, after, most, now, shows);
        let page = page.map_err(|NoSuchDrop| unknown_start("a drop"))?;
        let facts = Facts::of(&app, &page).await?;
        for drop in &page {
            let row = facts.row(&app, &origin, drop, now);
            writer
                .write_record(row.map(|value| one_line(&value)))
                .map_err(unwritable)?;
        }
        left -= page.len();
        after = page.last().map(|drop| drop.drop_id);
        if page.len() < most {
            break;
        }
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| Problem::internal(error.error()))?;
    Ok(Representation::new(bytes, TSV).unless_known(&headers))
}

/// Facts of the catalogue about the drops of one slice.
struct Facts {
    products: BTreeMap<String, Product>,
    /// The names of creators, by id.
    creators: BTreeMap<String, String>,
}

impl Facts {
    async fn of(app: &App, page: &[DropView]) -> Result<Self, Problem> {
        let store = &app.catalogue.store;
        let ids = |id: fn(&DropView) -> Option<&CatalogueId>| {
            let found = page.iter().filter_map(id);
            found
                .map(|id| id.as_str().to_owned())
                .collect::<BTreeSet<_>>()
        };
        let products = ids(|drop| drop.row.terms.product_id.as_ref());
        let products: Vec<String> = products.into_iter().collect();
        let products = store.products_named(&products).await.map_err(failed)?;
        let mut creators = ids(|drop| drop.row.terms.creator_id.as_ref());
        creators.extend(
            products
                .iter()
                .filter_map(|product| product.creator_id.clone()),
        );
        let creators: Vec<String> = creators.into_iter().collect();
        let creators = store.creator_names(&creators).await.map_err(failed)?;
        let by_id = products.into_iter();
        let by_id = by_id.map(|product| (product.id.as_str().to_owned(), product));
        Ok(Self {
            products: by_id.collect(),
            creators: creators.into_iter().collect(),
        })
    }

    /// Returns the values of a drop in the sequence of [`COLUMNS`].
    fn row(
        &self,
        app: &App,
        origin: &str,
        drop: &DropView,
        now: Timestamp,
    ) -> [String; COLUMNS.len()] {
        let terms = &drop.row.terms;
        let product = terms
            .product_id
            .as_ref()
            .and_then(|id| self.products.get(id.as_str()));
        let variant = product.and_then(|product| {
            let is_offered = |id: &CatalogueId| Some(id) == terms.variant_id.as_ref();
            product
                .variants
                .iter()
                .find(|variant| is_offered(&variant.id))
        });
        let creator = terms.creator_id.as_ref().map(CatalogueId::as_str);
        let creator = creator.or_else(|| product?.creator_id.as_deref());
        let brand = creator
            .and_then(|id| self.creators.get(id))
            .map_or("", String::as_str);
        let gtin = variant
            .and_then(|variant| variant.gtin.as_ref())
            .map_or("", |gtin| gtin.as_str());
        let mpn = variant
            .and_then(|variant| variant.sku.as_ref())
            .map_or("", |sku| sku.as_str());
        let has_identifier = !gtin.is_empty() || !(mpn.is_empty() || brand.is_empty());
        let group = product.filter(|product| !product.variants.is_empty());
        let group = group.map_or("", |product| product.id.as_str());
        let name = terms.name.as_str();
        let (availability, from) = match drop.row.status(now) {
            DropStatus::Scheduled => ("preorder", date(terms.starts_at)),
            DropStatus::Live => ("in_stock", String::new()),
            DropStatus::SoldOut
            | DropStatus::Paused
            | DropStatus::Draft
            | DropStatus::Ended
            | DropStatus::Cancelled => ("out_of_stock", String::new()),
        };
        let image = match terms.image_url.as_ref().map(ImageUrl::as_str) {
            Some(path) if path.starts_with('/') => format!("{origin}{path}"),
            Some(url) if url.starts_with("http") => url.to_owned(),
            Some(_) | None => app
                .brand
                .share_image()
                .map_or_else(String::new, |path| format!("{origin}{path}")),
        };
        let description = terms.description.as_ref().map_or(name, Description::as_str);
        [
            drop.drop_id.to_string(),
            shortened(name, MAX_TITLE),
            shortened(description, MAX_DESCRIPTION),
            format!("{origin}{}", at(&format!("/drops/{}", drop.drop_id))),
            image,
            availability.to_owned(),
            from,
            format!("{} {}", major(terms.price), terms.price.currency.code()),
            shortened(brand, MAX_BRAND),
            gtin.to_owned(),
            shortened(mpn, MAX_BRAND),
            shortened(group, MAX_GROUP),
            if has_identifier { "yes" } else { "no" }.to_owned(),
        ]
    }
}

/// Writes a time by ISO 8601, in seconds.
fn date(at: Timestamp) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Puts a value on one line: a tab or a line break would begin another cell or product.
fn one_line(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shortened(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_has_no_tab_and_no_line_break() {
        assert_eq!(
            one_line(" a\tb\r\nc\u{2028}d\u{85}e\u{0b}f "),
            "a b c d e f"
        );
        assert_eq!(shortened("äbc", 2), "äb");
    }

    #[test]
    fn dates_have_no_milliseconds() {
        assert_eq!(
            date(Timestamp::from_millis(1_796_475_900_654)),
            "2026-12-05T13:05:00Z"
        );
    }
}
