//! The routes of creators.
//!
//! Promise: a change is in the database before its response; the shop chooses the ids. A page of
//! creators or followers costs the same, however many there are.
//! Limit: these routes need the database; without it they return 503.

use ::catalogue::store::{Creator, Follower, NewCreator};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::values::{BuyerId, CatalogueId, Description, DropName, Entered, ImageUrl, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::auth::Admin;
use crate::base_path::at;
use crate::drops::picture::picture;
use crate::extract::{Body, Fresh, Limit, MAX_TERMS_BODY, Query};
use crate::problem::{Code, Problem};
use crate::render::{Page, conditional, insert, private};
use crate::webhook_routes::{failed, one_more, page, unknown_start};

/// Maximum number of creators or followers in one response.
pub(crate) const MOST_LISTED: usize = 100;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewCreator")]
pub(crate) struct NewCreatorBody {
    name: Entered<DropName>,
    description: Option<Entered<Description>>,
    /// As that of a drop.
    #[serde(default, deserialize_with = "picture")]
    image_url: Option<Entered<ImageUrl>>,
}

/// A creator, in whose name drops are offered.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Creator")]
pub(crate) struct CreatorBody {
    /// The shop's.
    id: String,
    name: String,
    description: Option<String>,
    image_url: Option<String>,
    /// How many buyers follow the creator.
    followers: u64,
    created_at: Timestamp,
}

impl From<Creator> for CreatorBody {
    fn from(creator: Creator) -> Self {
        Self {
            id: creator.id,
            name: creator.name,
            description: creator.description,
            image_url: creator.image_url,
            followers: creator.followers,
            created_at: creator.created_at,
        }
    }
}

/// A buyer that follows a creator.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Follower")]
pub(crate) struct FollowerBody {
    buyer_id: BuyerId,
    followed_at: Timestamp,
}

impl From<Follower> for FollowerBody {
    fn from(follower: Follower) -> Self {
        Self {
            buyer_id: follower.buyer_id,
            followed_at: follower.followed_at,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CreatorsParams {
    /// The maximum number of creators.
    #[schemars(extend("default" = MOST_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last creator of the previous page.
    starting_after: Option<Entered<CatalogueId>>,
}

impl Query for CreatorsParams {}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct FollowersParams {
    /// The maximum number of followers.
    #[schemars(extend("default" = MOST_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last buyer of the previous page.
    starting_after: Option<Entered<BuyerId>>,
}

impl Query for FollowersParams {}

/// The id in the path of a request that reads or deletes. A value that is not an id gets the same
/// problem as an unknown one.
#[derive(Debug, Clone)]
pub(crate) struct CreatorPath(pub(crate) CatalogueId);

impl FromRequestParts<App> for CreatorPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, app).await;
        let Path(id) = path.map_err(|_| not_found())?;
        CatalogueId::stored(&id).map(Self).map_err(|_| not_found())
    }
}

/// The id in the path of a request that chooses it.
#[derive(Debug, Clone)]
pub(crate) struct ChosenId(pub(crate) CatalogueId);

impl FromRequestParts<App> for ChosenId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, app).await;
        let Path(id) = path.map_err(|_| Problem::invalid("/id", "must be UTF-8"))?;
        let id = CatalogueId::stored(&id)
            .ok()
            .filter(|known| known.as_str() == id);
        id.map(Self).ok_or_else(|| {
            let rule = "must have 1 to 64 characters of A-Z, a-z, 0-9, '.', '_' and '-'";
            Problem::invalid("/id", rule)
        })
    }
}

pub(crate) fn not_found() -> Problem {
    Problem::new(Code::CreatorNotFound, "No creator has this id.")
}

/// `PUT /v1/creators/{id}`: 201 if it is new.
pub(crate) async fn put(
    State(app): State<App>,
    _: Admin,
    ChosenId(id): ChosenId,
    Body(new): Body<NewCreatorBody, MAX_TERMS_BODY>,
) -> Result<Response, Problem> {
    let new = NewCreator {
        name: new.name.0,
        description: new.description.map(|Entered(text)| text),
        image_url: new.image_url.map(|Entered(url)| url),
    };
    let store = &app.catalogue.store;
    let is_new = store.put_creator(&id, &new).await.map_err(failed)?;
    // Deleted meanwhile by another request.
    let creator = store.creator(&id).await.map_err(failed)?;
    let body = Json(CreatorBody::from(creator.ok_or_else(not_found)?));
    Ok(stored(
        is_new,
        &format!("/v1/creators/{}", id.as_str()),
        body,
    ))
}

/// Responds to a request that stored a resource.
pub(crate) fn stored<T: Serialize>(is_new: bool, location: &str, body: Json<T>) -> Response {
    if !is_new {
        return body.into_response();
    }
    let mut response = (StatusCode::CREATED, body).into_response();
    insert(&mut response, header::LOCATION, &at(location));
    response
}

/// `GET /v1/creators/{id}`
pub(crate) async fn read(
    State(app): State<App>,
    CreatorPath(id): CreatorPath,
    _: Fresh,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let creator = app.catalogue.store.creator(&id).await.map_err(failed)?;
    let body = CreatorBody::from(creator.ok_or_else(not_found)?);
    Ok(conditional(&headers, &body))
}

/// `GET /v1/creators`
pub(crate) async fn list(
    State(app): State<App>,
    Fresh(params): Fresh<CreatorsParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = params.limit.map_or(MOST_LISTED, |Limit(limit)| limit);
    let after = params.starting_after.map(|Entered(id)| id);
    let store = &app.catalogue.store;
    let found = store.creators(after.as_ref(), one_more(limit)).await;
    let found = found.map_err(failed)?;
    if let (Some(after), true) = (&after, found.is_empty()) {
        let known = store.creator(after).await.map_err(failed)?;
        known.ok_or_else(|| unknown_start("a creator"))?;
    }
    let page: Page<CreatorBody> = page(found, limit);
    Ok(conditional(&headers, &page))
}

/// `DELETE /v1/creators/{id}`
pub(crate) async fn delete(
    State(app): State<App>,
    _: Admin,
    CreatorPath(id): CreatorPath,
) -> Result<StatusCode, Problem> {
    match app
        .catalogue
        .store
        .delete_creator(&id)
        .await
        .map_err(failed)?
    {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(not_found()),
    }
}

/// `GET /v1/creators/{id}/followers`
pub(crate) async fn followers(
    State(app): State<App>,
    _: Admin,
    CreatorPath(id): CreatorPath,
    Fresh(params): Fresh<FollowersParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = params.limit.map_or(MOST_LISTED, |Limit(limit)| limit);
    let store = &app.catalogue.store;
    let start = match &params.starting_after {
        Some(Entered(buyer_id)) => {
            let start = store.follower(&id, buyer_id).await.map_err(failed)?;
            let of = "a follower of the creator";
            Some(start.ok_or_else(|| unknown_start(of)))
        }
        None => None,
    };
    // An unknown creator first: it has no followers to start after.
    let start = match start {
        Some(Err(unknown)) => {
            let known = store.creator(&id).await.map_err(failed)?;
            return Err(known.map_or_else(not_found, |_| unknown));
        }
        Some(Ok(start)) => Some(start),
        None => None,
    };
    let found = store.followers(&id, start, one_more(limit)).await;
    let found = found.map_err(failed)?.ok_or_else(not_found)?;
    let page: Page<FollowerBody> = page(found, limit);
    Ok(private(conditional(&headers, &page)))
}
