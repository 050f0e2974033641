//! The routes of products.
//!
//! Promise: a product shows its drops as they are now, read from memory.
//! Limit: as of creators; a product has at most [`MOST_DROPS`] drops in its own response and
//! [`MOST_DROPS_IN_LIST`] in a list, and shows if there are more.

use ::catalogue::drops::Of;
use ::catalogue::store::{NewProduct, Product};
use ::catalogue::variants::{Gtin, InvalidVariants, MOST_VARIANTS, Sku, Variant, Variants};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::values::{
    CatalogueId, Description, DropName, Entered, ImageUrl, InvalidValue, Timestamp,
};
use projections::drop_body::DropBody;
use projections::views::DropView;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::app::App;
use crate::auth::Admin;
use crate::creators::{ChosenId, MOST_LISTED, stored};
use crate::drops::picture::picture;
use crate::extract::{Body, Fresh, Limit, MAX_TERMS_BODY, Query};
use crate::problem::{Code, Problem};
use crate::render::{Page, conditional_at};
use crate::viewer::Viewer;
use crate::webhook_routes::{failed, one_more, unknown_start};

/// Maximum number of drops in the response of one product.
pub(crate) const MOST_DROPS: usize = 100;
/// Maximum number of drops of each product of a list.
pub(crate) const MOST_DROPS_IN_LIST: usize = 10;
/// Default number of products in one response.
const USUALLY_LISTED: usize = 20;

/// A variant in a request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewVariant")]
struct NewVariant {
    /// Unique within the product.
    id: Entered<CatalogueId>,
    name: Entered<DropName>,
    /// The shop's stock keeping unit.
    #[serde(default, deserialize_with = "sku")]
    #[schemars(with = "Option<String>", length(min = 1, max = 64))]
    sku: Option<Sku>,
    /// A Global Trade Item Number of 8, 12, 13 or 14 digits, the last of which is the check digit.
    #[serde(default, deserialize_with = "gtin")]
    #[schemars(with = "Option<String>", extend("pattern" = "^([0-9]{8}|[0-9]{12,14})$"))]
    gtin: Option<Gtin>,
}

fn sku<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Sku>, D::Error> {
    code(deserializer, Sku::new)
}

fn gtin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Gtin>, D::Error> {
    code(deserializer, Gtin::new)
}

fn code<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    new: fn(&str) -> Result<T, InvalidValue>,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let code = text.as_deref().map(new);
    code.transpose().map_err(de::Error::custom)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewProduct")]
pub(crate) struct NewProductBody {
    /// The creator of the product. The catalogue need not have it yet.
    creator_id: Option<Entered<CatalogueId>>,
    title: Entered<DropName>,
    description: Option<Entered<Description>>,
    /// As that of a drop.
    #[serde(default, deserialize_with = "picture")]
    image_url: Option<Entered<ImageUrl>>,
    /// Such as the sizes of a shoe, in the order in which they are shown. Default: none.
    #[serde(default)]
    #[schemars(length(max = MOST_VARIANTS))]
    variants: Vec<NewVariant>,
}

impl NewProductBody {
    fn checked(self) -> Result<NewProduct, Problem> {
        let variants = self.variants.into_iter().map(|variant| Variant {
            id: variant.id.0,
            name: variant.name.0,
            sku: variant.sku,
            gtin: variant.gtin,
        });
        let variants = Variants::new(variants.collect()).map_err(|refused| match refused {
            InvalidVariants::TooMany => {
                let detail = format!("must have at most {MOST_VARIANTS} variants");
                Problem::invalid("/variants", detail)
            }
            InvalidVariants::Repeated(index) => {
                let detail = "must differ from the ids of the other variants";
                Problem::invalid(format!("/variants/{index}/id"), detail)
            }
        })?;
        Ok(NewProduct {
            creator_id: self.creator_id.map(|Entered(id)| id),
            title: self.title.0,
            description: self.description.map(|Entered(text)| text),
            image_url: self.image_url.map(|Entered(url)| url),
            variants,
        })
    }
}

/// A variant of a product.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Variant")]
struct VariantBody {
    id: String,
    name: String,
    #[schemars(with = "Option<String>")]
    sku: Option<Sku>,
    #[schemars(with = "Option<String>")]
    gtin: Option<Gtin>,
}

impl From<Variant> for VariantBody {
    fn from(variant: Variant) -> Self {
        Self {
            id: variant.id.as_str().to_owned(),
            name: variant.name.as_str().to_owned(),
            sku: variant.sku,
            gtin: variant.gtin,
        }
    }
}

/// A product, with its drops.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Product")]
pub(crate) struct ProductBody<'a> {
    /// The shop's.
    id: String,
    creator_id: Option<String>,
    title: String,
    description: Option<String>,
    image_url: Option<String>,
    variants: Vec<VariantBody>,
    /// Its drops in every list, newest first: at most 100, in lists of products 10.
    drops: Vec<DropBody<'a>>,
    /// True if there are more, which `GET /v1/drops?product_id=` lists.
    has_more_drops: bool,
    created_at: Timestamp,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ProductsParams {
    /// Lists only products of this creator.
    creator_id: Option<Entered<CatalogueId>>,
    /// The maximum number of products.
    #[schemars(extend("default" = USUALLY_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last product of the previous page.
    starting_after: Option<Entered<CatalogueId>>,
}

impl Query for ProductsParams {}

/// The id in the path of a request that reads or deletes, as [`crate::creators::CreatorPath`].
#[derive(Debug, Clone)]
pub(crate) struct ProductPath(CatalogueId);

impl FromRequestParts<App> for ProductPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, app).await;
        let Path(id) = path.map_err(|_| not_found())?;
        CatalogueId::stored(&id).map(Self).map_err(|_| not_found())
    }
}

fn not_found() -> Problem {
    Problem::new(Code::ProductNotFound, "No product has this id.")
}

/// A product with the views of its drops, from which its body is made.
struct Shown {
    product: Product,
    drops: Vec<DropView>,
    has_more: bool,
}

impl Shown {
    fn new(app: &App, product: Product, most: usize) -> Self {
        let of = Of::Product(&product.id);
        let ids = app.catalogue.drops.page(of, None, most + 1);
        let has_more = ids.len() > most;
        let ids = ids.into_iter().take(most);
        Self {
            drops: ids.filter_map(|id| app.views.drop(id)).collect(),
            has_more,
            product,
        }
    }

    fn body(&self, now: Timestamp) -> ProductBody<'_> {
        let product = self.product.clone();
        ProductBody {
            id: product.id.as_str().to_owned(),
            creator_id: product.creator_id,
            title: product.title,
            description: product.description,
            image_url: product.image_url,
            variants: product
                .variants
                .into_iter()
                .map(VariantBody::from)
                .collect(),
            drops: self
                .drops
                .iter()
                .map(|drop| Viewer::Public.body(drop, now))
                .collect(),
            has_more_drops: self.has_more,
            created_at: product.created_at,
        }
    }
}

/// `PUT /v1/products/{id}`: 201 if it is new.
pub(crate) async fn put(
    State(app): State<App>,
    _: Admin,
    ChosenId(id): ChosenId,
    Body(new): Body<NewProductBody, MAX_TERMS_BODY>,
) -> Result<Response, Problem> {
    let new = new.checked()?;
    let store = &app.catalogue.store;
    let is_new = store.put_product(&id, &new).await.map_err(failed)?;
    // Deleted meanwhile by another request.
    let product = store.product(&id).await.map_err(failed)?;
    let shown = Shown::new(&app, product.ok_or_else(not_found)?, MOST_DROPS);
    let location = format!("/v1/products/{}", id.as_str());
    Ok(stored(is_new, &location, Json(shown.body(app.now()))))
}

/// `GET /v1/products/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    ProductPath(id): ProductPath,
    _: Fresh,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let product = app.catalogue.store.product(&id).await.map_err(failed)?;
    let shown = Shown::new(&app, product.ok_or_else(not_found)?, MOST_DROPS);
    let now = app.now();
    Ok(conditional_at(&headers, now, &shown.body(now)))
}

/// `GET /v1/products`
pub(crate) async fn list(
    State(app): State<App>,
    Fresh(params): Fresh<ProductsParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = params.limit.map_or(USUALLY_LISTED, |Limit(limit)| limit);
    let creator_id = params.creator_id.map(|Entered(id)| id);
    let after = params.starting_after.map(|Entered(id)| id);
    let store = &app.catalogue.store;
    let found = store.products(creator_id.as_ref(), after.as_ref(), one_more(limit));
    let mut found = found.await.map_err(failed)?;
    if let (Some(after), true) = (&after, found.is_empty()) {
        let known = store.product(after).await.map_err(failed)?;
        known.ok_or_else(|| unknown_start("a product"))?;
    }
    let has_more = found.len() > limit;
    found.truncate(limit);
    let shown = found.into_iter();
    let shown = shown.map(|product| Shown::new(&app, product, MOST_DROPS_IN_LIST));
    let shown: Vec<Shown> = shown.collect();
    let now = app.now();
    let data = shown.iter().map(|shown| shown.body(now)).collect();
    Ok(conditional_at(&headers, now, &Page { data, has_more }))
}

/// `DELETE /v1/products/{id}`
pub(crate) async fn delete(
    State(app): State<App>,
    _: Admin,
    ProductPath(id): ProductPath,
) -> Result<StatusCode, Problem> {
    match app
        .catalogue
        .store
        .delete_product(&id)
        .await
        .map_err(failed)?
    {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(not_found()),
    }
}
