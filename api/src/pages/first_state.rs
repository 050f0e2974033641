//! The first state of `/` and of the pages of drops, products and creators: the drops in HTML, and
//! their description for search engines and social networks, so that they can be read before a
//! script runs and without one.
//!
//! Promise: a page shows the state that the API returns to the same reader at the same moment; a
//! drop that is not in the public's lists is not on `/`. Every text is escaped, also in JSON-LD.
//! Limit: facts of the catalogue may be up to [`super::catalogue_facts::KEPT`] old.
//!
//! Source: docs/decisions/0080-a-shop-is-branded-by-a-theme-file.md.

use axum::http::HeaderMap;
use catalogue::drops::Of;
use catalogue::store::{Creator, Product};
use catalogue::variants::Variant;
use chrono_tz::Tz;
use domain::status::DropStatus;
use domain::stock_level::StockLevel;
use domain::values::{Description, DropId, ImageUrl, Timestamp};
use minijinja::{Value, context};
use projections::views::DropView;
use serde_json::json;

use super::catalogue_facts::Facts;
use super::reader::Reader;
use crate::app::App;
use crate::base_path::at;
use crate::brand::figures::major;
use crate::brand::{Brand, Language};
use crate::products::MOST_DROPS;
use crate::viewer::Viewer;

/// The number of drops on the front page, as in `lib/catalog.js`.
const MOST_SHOWN: usize = 24;
/// The statuses of the front page, in the sequence of `lib/catalog.js`.
const SHOWN: [DropStatus; 4] = [
    DropStatus::Live,
    DropStatus::Scheduled,
    DropStatus::SoldOut,
    DropStatus::Paused,
];
/// The longest description of a page, in characters: search engines show fewer.
const MOST_DESCRIBED: usize = 300;

/// The name of a drop without visible characters, as an older log can contain.
const UNNAMED: &str = "drop.unnamed";

/// The common values of the pages of one request.
struct Scene<'a> {
    language: &'a Language,
    brand: &'a Brand,
    zone: Tz,
    now: Timestamp,
    origin: String,
}

impl<'a> Scene<'a> {
    fn new(app: &'a App, reader: &Reader, headers: &HeaderMap, now: Timestamp) -> Self {
        Self {
            language: reader.language(&app.brand),
            brand: &app.brand,
            zone: app.brand.time_zone().unwrap_or(Tz::UTC),
            now,
            origin: app.brand.origin(headers),
        }
    }

    fn absolute(&self, path: &str) -> String {
        self.on_host(&at(path))
    }

    /// Returns the address of a path of the host, which may be that of another site.
    fn on_host(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Returns the address of a picture for other sites: a `data:` URL has none.
    fn picture(&self, image: Option<&str>) -> Option<String> {
        match image {
            Some(path) if path.starts_with('/') => Some(self.on_host(path)),
            Some(url) if url.starts_with("http") => Some(url.to_owned()),
            Some(_) | None => self.brand.share_image().map(|path| self.on_host(&path)),
        }
    }

    /// Returns the same page in every language.
    fn alternates(&self, path: &str) -> Value {
        let url = self.absolute(path);
        let languages = self.brand.languages().iter();
        let mut all: Vec<Value> = languages
            .map(|one| context! { tag => &one.tag, url => format!("{url}?lang={}", one.tag) })
            .collect();
        all.push(context! { tag => "x-default", url });
        all.into()
    }

    fn when(&self, drop: &DropView) -> (String, Option<String>) {
        let terms = &drop.row.terms;
        let day = |at| self.language.about.format.day(at, self.now, self.zone);
        let timed = |key, at: Timestamp| {
            (
                self.language.fill(key, &[("time", &day(at))]),
                Some(at.to_string()),
            )
        };
        let plain = |key| (self.language.text(key).to_owned(), None);
        match drop.row.status(self.now) {
            DropStatus::Scheduled => timed("drop.starts", terms.starts_at),
            DropStatus::Ended => match terms.ends_at {
                Some(at) => timed("drop.ended_at", at),
                None => plain("status.ended"),
            },
            DropStatus::Cancelled => plain("drop.no_sales"),
            DropStatus::Paused => plain("drop.will_resume"),
            DropStatus::Draft => plain("drop.not_published"),
            DropStatus::Live | DropStatus::SoldOut => match terms.ends_at {
                Some(at) => timed("drop.ends", at),
                None if drop.row.status(self.now) == DropStatus::Live => plain("drop.while_stock"),
                // The level of a stock does not reveal if units are on hold.
                None if !Viewer::Public.sees_numbers(terms) => plain("drop.returned_sold"),
                None if drop.row.stock.held == 0 => plain("drop.all_sold"),
                None if drop.row.waitlist_length > 0 => plain("drop.returned_waitlist"),
                None => plain("drop.returned_sold"),
            },
        }
    }

    /// Returns the texts of the stock: its main figure, the rest, and if it is low.
    fn stock(&self, drop: &DropView, viewer: Viewer) -> (String, String, bool) {
        let (stock, terms) = (drop.row.stock, &drop.row.terms);
        let is_over = drop.row.status(self.now).is_over();
        let (language, format) = (self.language, &self.language.about.format);
        if !viewer.sees_numbers(terms) {
            let level = StockLevel::of(stock, terms);
            let key = match level {
                StockLevel::InStock => "stock.in_stock",
                StockLevel::Low => "stock.low",
                StockLevel::SoldOut => "stock.none",
            };
            let words = if is_over { "" } else { language.text(key) };
            return (
                words.to_owned(),
                String::new(),
                !is_over && level == StockLevel::Low,
            );
        }
        let count = |number: u32| format.count(number.into());
        let left = match is_over {
            true => language.fill("stock.sold", &[("number", &count(stock.sold))]),
            false => language.fill("stock.left", &[("number", &count(stock.available))]),
        };
        let rest = match stock.held {
            0 => language.fill("stock.of", &[("total", &count(stock.total))]),
            held => {
                let values = [("total", &*count(stock.total)), ("held", &*count(held))];
                language.fill("stock.of_held", &values)
            }
        };
        let low = (stock.total / 10).max(3);
        let is_low = !is_over && stock.available > 0 && stock.available <= low;
        (left, rest, is_low)
    }

    fn status(&self, drop: &DropView, viewer: Viewer) -> (&'static str, &str) {
        let status = drop.row.status(self.now);
        let is_held = viewer.sees_numbers(&drop.row.terms) && drop.row.stock.held > 0;
        let (name, key) = match status {
            DropStatus::Scheduled => ("scheduled", "status.scheduled"),
            DropStatus::Live => ("live", "status.live"),
            DropStatus::SoldOut if is_held => ("sold_out", "status.all_held"),
            DropStatus::SoldOut => ("sold_out", "status.sold_out"),
            DropStatus::Ended => ("ended", "status.ended"),
            DropStatus::Cancelled => ("cancelled", "status.cancelled"),
            DropStatus::Paused => ("paused", "status.paused"),
            DropStatus::Draft => ("draft", "status.draft"),
        };
        (name, self.language.text(key))
    }

    fn name<'b>(&'b self, drop: &'b DropView) -> &'b str {
        let name = drop.row.terms.name.as_str();
        match domain::values::require_visible_characters(name).is_ok() && !name.is_empty() {
            true => name,
            // Escaping keeps the other characters harmless.
            false if name.chars().any(char::is_alphanumeric) => name,
            false => self.language.text(UNNAMED),
        }
    }

    /// Returns the values of a drop's elements.
    fn shown(&self, drop: &DropView, viewer: Viewer) -> Value {
        let terms = &drop.row.terms;
        let (status, status_words) = self.status(drop, viewer);
        let (left, rest, is_low) = self.stock(drop, viewer);
        let (when, time) = self.when(drop);
        let is_over = drop.row.status(self.now).is_over();
        let stock = drop.row.stock;
        // Shares of a stock whose numbers are not public are not written.
        let main = if is_over { stock.sold } else { stock.available };
        let (share, share_held) = (
            percent(main, stock.total),
            percent(main + stock.held, stock.total),
        );
        context! {
            id => drop.drop_id.to_string(),
            name => self.name(drop),
            description => terms.description.as_ref().map_or("", Description::as_str),
            image => terms.image_url.as_ref().map(ImageUrl::as_str),
            price => self.language.about.format.money(terms.price),
            status, status_words, left, rest, is_low, when, time, share, share_held, is_over,
        }
    }
}

/// Returns the share in percent.
fn percent(part: u32, total: u32) -> u64 {
    100 * u64::from(part) / u64::from(total.max(1))
}

/// Returns the values of the front page.
pub(super) fn front(app: &App, reader: &Reader, headers: &HeaderMap) -> Value {
    let now = app.now();
    let scene = Scene::new(app, reader, headers, now);
    let shows = |row: &projections::live_stock::LiveStockRow| Viewer::Public.lists_row(row);
    let mut drops: Vec<DropView> = vec![];
    for status in SHOWN {
        let wanted = MOST_SHOWN - drops.len();
        if wanted == 0 {
            break;
        }
        let page = app.views.drops_page_of(&[status], None, wanted, now, shows);
        drops.extend(page.unwrap_or_default());
    }
    let items = drops.iter().enumerate().map(|(index, drop)| {
        json!({
            "@type": "ListItem", "position": index + 1, "name": scene.name(drop),
            "url": scene.absolute(&format!("/drops/{}", drop.drop_id)),
        })
    });
    let data = json!({
        "@context": "https://schema.org", "@type": "ItemList", "url": scene.absolute("/"),
        "name": scene.brand.name(), "numberOfItems": drops.len(),
        "itemListElement": items.collect::<Vec<_>>(),
    });
    let image = scene.picture(None);
    let page = context! {
        title => scene.brand.name(),
        site => scene.brand.name(),
        description => scene.language.text("shop.description"),
        url => scene.absolute("/"),
        kind => "website",
        locale => og_locale(scene.language),
        alternates => scene.alternates("/"),
        image,
        data => in_script(&data),
    };
    let shown = drops.iter().map(|drop| scene.shown(drop, Viewer::Public));
    context! { page, drops => shown.collect::<Vec<_>>() }
}

/// Returns the values of a drop's page.
pub(super) async fn of_drop(
    app: &App,
    reader: &Reader,
    headers: &HeaderMap,
    (viewer, drop): (Viewer, &DropView),
) -> Value {
    let facts = app.facts.of(&app.catalogue.store, &drop.row.terms).await;
    let scene = Scene::new(app, reader, headers, app.now());
    let terms = &drop.row.terms;
    let path = format!("/drops/{}", drop.drop_id);
    let description = terms.description.as_ref().map_or("", Description::as_str);
    let (_, status) = scene.status(drop, viewer);
    let price = scene.language.about.format.money(terms.price);
    let (when, _) = scene.when(drop);
    let described = match description.is_empty() {
        true => format!("{} · {price} · {status} · {when}", scene.name(drop)),
        false => shortened(description),
    };
    let image = scene.picture(terms.image_url.as_ref().map(ImageUrl::as_str));
    let is_unlisted = !terms.are_listed();
    // Search engines must not list it, so they are not sent its description.
    let data = (!is_unlisted).then(|| in_script(&structured(&scene, drop, &facts)));
    let page = context! {
        title => format!("{} · {}", scene.name(drop), scene.brand.name()),
        site => scene.brand.name(),
        description => described,
        url => scene.absolute(&path),
        kind => "product",
        locale => og_locale(scene.language),
        alternates => scene.alternates(&path),
        image,
        amount => major(terms.price),
        currency => terms.price.currency.code(),
        is_unlisted,
        data,
    };
    context! { page, drop => scene.shown(drop, viewer) }
}

/// An entry of the catalogue that has a page.
struct Entry<'a> {
    path: String,
    name: &'a str,
    description: Option<&'a str>,
    image: Option<&'a str>,
}

impl Entry<'_> {
    /// Returns the values of the entry's page, with its description for other sites.
    fn page(&self, scene: &Scene<'_>, mut data: serde_json::Value) -> Value {
        let description = self.description.unwrap_or_default();
        let image = scene.picture(self.image);
        data["@context"] = json!("https://schema.org");
        data["name"] = json!(self.name);
        data["url"] = json!(scene.absolute(&self.path));
        if !description.is_empty() {
            data["description"] = json!(description);
        }
        if let Some(image) = &image {
            data["image"] = json!(image);
        }
        context! {
            title => format!("{} · {}", self.name, scene.brand.name()),
            site => scene.brand.name(),
            description => match description.is_empty() {
                true => format!("{} · {}", self.name, scene.brand.name()),
                false => shortened(description),
            },
            url => scene.absolute(&self.path),
            kind => "website",
            locale => og_locale(scene.language),
            alternates => scene.alternates(&self.path),
            image,
            data => in_script(&data),
        }
    }
}

/// Returns the values of a creator's page. Its products are left to the script: their texts have
/// plural forms, whose rules browsers have.
pub(super) fn of_creator(
    app: &App,
    reader: &Reader,
    headers: &HeaderMap,
    creator: &Creator,
) -> Value {
    let scene = Scene::new(app, reader, headers, app.now());
    let entry = Entry {
        path: format!("/creators/{}", creator.id),
        name: &creator.name,
        description: creator.description.as_deref(),
        image: creator.image_url.as_deref(),
    };
    let page = entry.page(&scene, json!({ "@type": "Brand" }));
    context! {
        page,
        name => &creator.name,
        description => creator.description.as_deref().unwrap_or_default(),
    }
}

/// Returns the values of a product's page: its public drops in the sequence of its variants.
pub(super) fn of_product(
    app: &App,
    reader: &Reader,
    headers: &HeaderMap,
    (product, creator): (&Product, Option<&Creator>),
) -> Value {
    let scene = Scene::new(app, reader, headers, app.now());
    let ids = app
        .catalogue
        .drops
        .page(Of::Product(&product.id), None, MOST_DROPS);
    let drops = ids.into_iter().filter_map(|id| app.views.drop(id));
    let mut drops: Vec<(usize, DropView)> = drops
        .filter(|drop| Viewer::Public.lists_row(&drop.row))
        .map(|drop| {
            let is_offered = |one: &Variant| Some(&one.id) == drop.row.terms.variant_id.as_ref();
            let rank = product.variants.iter().position(is_offered);
            (rank.unwrap_or(product.variants.len()), drop)
        })
        .collect();
    drops.sort_by_key(|(rank, _)| *rank);
    let described = drops.iter().map(|(rank, drop)| {
        let variant = product.variants.get(*rank);
        let facts = Facts {
            creator: None,
            sku: variant.and_then(|one| one.sku.as_ref().map(|sku| sku.as_str().to_owned())),
            gtin: variant.and_then(|one| one.gtin.as_ref().map(|gtin| gtin.as_str().to_owned())),
        };
        structured(&scene, drop, &facts)
    });
    let mut data = json!({
        "@type": "ProductGroup", "productGroupID": product.id.as_str(),
        "hasVariant": described.collect::<Vec<_>>(),
    });
    if let Some(creator) = creator {
        data["brand"] = json!({ "@type": "Brand", "name": creator.name });
    }
    let entry = Entry {
        path: format!("/products/{}", product.id.as_str()),
        name: &product.title,
        description: product.description.as_deref(),
        image: product.image_url.as_deref(),
    };
    let sizes = drops.iter().map(|(rank, drop)| {
        context! {
            variant => product.variants.get(*rank).map(|one| one.name.as_str()),
            drop => scene.shown(drop, Viewer::Public),
        }
    });
    context! {
        page => entry.page(&scene, data),
        name => &product.title,
        creator => creator.map(|creator| context! { id => &creator.id, name => &creator.name }),
        description => product.description.as_deref().unwrap_or_default(),
        sizes => sizes.collect::<Vec<_>>(),
    }
}

/// Describes a drop by schema.org: a product with one offer.
fn structured(scene: &Scene<'_>, drop: &DropView, facts: &Facts) -> serde_json::Value {
    let terms = &drop.row.terms;
    let url = scene.absolute(&format!("/drops/{}", drop.drop_id));
    let status = drop.row.status(scene.now);
    let mut offer = json!({
        "@type": "Offer", "url": url, "price": major(terms.price),
        "priceCurrency": terms.price.currency.code(),
        "availability": format!("https://schema.org/{}", availability(status)),
        "availabilityStarts": terms.starts_at.to_string(),
        "seller": { "@type": "Organization", "name": scene.brand.name() },
    });
    if let Some(ends_at) = terms.ends_at {
        offer["availabilityEnds"] = json!(ends_at.to_string());
        offer["priceValidUntil"] = json!(ends_at.to_string());
    }
    let mut product = json!({
        "@context": "https://schema.org", "@type": "Product", "productID": drop.drop_id,
        "name": scene.name(drop), "url": url, "offers": offer,
    });
    let optional = [
        (
            "description",
            terms
                .description
                .as_ref()
                .map(|text| text.as_str().to_owned()),
        ),
        (
            "image",
            scene.picture(terms.image_url.as_ref().map(ImageUrl::as_str)),
        ),
        ("sku", facts.sku.clone()),
        ("gtin", facts.gtin.clone()),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            product[name] = json!(value);
        }
    }
    if let Some(creator) = &facts.creator {
        product["brand"] = json!({ "@type": "Brand", "name": creator });
    }
    product
}

/// The availability in schema.org's words.
const fn availability(status: DropStatus) -> &'static str {
    match status {
        DropStatus::Scheduled => "PreOrder",
        DropStatus::Live => "InStock",
        DropStatus::SoldOut => "SoldOut",
        // A draft has no description: only administrators see its page.
        DropStatus::Paused | DropStatus::Draft => "OutOfStock",
        DropStatus::Ended | DropStatus::Cancelled => "Discontinued",
    }
}

/// Writes JSON for an element `script`: without `<` the element cannot end before its end.
fn in_script(data: &serde_json::Value) -> Value {
    let text = data.to_string();
    let escaped = text
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    Value::from_safe_string(escaped)
}

fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST_DESCRIBED) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

/// Returns the language as Open Graph writes it: `pt_BR`.
fn og_locale(language: &Language) -> String {
    language.tag.replace('-', "_")
}

/// Returns the public drops in the sequence of their ids, for the map of the site.
pub(super) fn listed_after(app: &App, after: Option<DropId>, most: usize) -> Vec<DropView> {
    let wanted = |row: &projections::live_stock::LiveStockRow, _| Viewer::Public.lists_row(row);
    app.views.drops_after(after, most, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cannot_end_its_element() {
        let data = json!({ "name": "</script><b>&\u{2028}" });
        let text = in_script(&data).to_string();
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            data
        );
    }

    #[test]
    fn description_is_one_line_of_bounded_length() {
        assert_eq!(shortened("a\n\n b"), "a b");
        assert_eq!(shortened(&"é".repeat(300)), "é".repeat(300));
        assert_eq!(shortened(&"é".repeat(301)), format!("{}…", "é".repeat(300)));
    }
}
