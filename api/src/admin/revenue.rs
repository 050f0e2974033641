//! Revenue: the money and units of purchases, by drop and by time, for each currency.
//!
//! Promise: the sums are those of the log, from rows by minute and hour in memory, so that a
//! request costs the same for any number of purchases. A refund counts at the time of its purchase,
//! as in the timeline. Limit: the finest resolution is a minute; a sum beyond the largest amount of
//! money is shown as that amount.

use std::collections::VecDeque;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::values::{Currency, DropId, Money, Position, Timestamp};
use projections::revenue::{Resolution, RevenueSums, SumsByCurrency};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::window::{Buckets, Span};
use crate::app::App;
use crate::auth::Admin;
use crate::csv_files::{self, CSV, Lines, List, MEDIA_TYPES, inert};
use crate::drops::{MOST_LISTED, find};
use crate::extract::{Fresh, Limit, Query};
use crate::negotiate::{preferred, varied};
use crate::problem::Problem;
use crate::render::{conditional, private};

const HOUR_SECONDS: u64 = 3600;

/// The window of a request for revenue.
#[derive(Debug, Clone, Copy, JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^([0-9]+[smhd]|all)$", "examples" = ["1h", "7d", "all"]))]
enum Window {
    /// A length of time that ends now.
    Last(Span),
    /// Since the first purchase.
    All,
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "all" {
            return Ok(Self::All);
        }
        let text = serde::de::value::StringDeserializer::new(text);
        Span::deserialize(text).map(Self::Last)
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct RevenueParams {
    /// The id of a drop. Default: all drops.
    drop_id: Option<DropId>,
    /// The length of the window, which ends now, or `all`: since the first purchase.
    #[schemars(extend("default" = "1h"))]
    window: Option<Window>,
    /// The length of one bucket. Default: chosen by the window.
    bucket: Option<Span>,
    /// The maximum number of listed drops. The totals and buckets cover all drops, and a CSV file
    /// has all drops.
    #[schemars(extend("default" = MOST_LISTED))]
    limit: Option<Limit<MOST_LISTED>>,
    /// The id of the last drop of the previous page.
    starting_after: Option<DropId>,
}

impl Query for RevenueParams {}

/// The purchases of one currency.
#[derive(Debug, Hash, Serialize, JsonSchema)]
#[schemars(rename = "RevenueSum")]
struct SumBody {
    /// Purchases, refunded ones included.
    purchases: u64,
    /// Units that were purchased and not refunded since.
    units_sold: u64,
    /// Units that were purchased and refunded since.
    units_refunded: u64,
    /// The price of all purchased units.
    gross: Money,
    /// The price of the refunded units.
    refunded: Money,
    /// `gross` less `refunded`.
    net: Money,
}

impl SumBody {
    fn new(currency: Currency, sums: RevenueSums) -> Self {
        let money = |amount: i128| Money {
            amount: i64::try_from(amount).unwrap_or(i64::MAX),
            currency,
        };
        Self {
            purchases: sums.purchases,
            units_sold: sums.units.saturating_sub(sums.units_refunded),
            units_refunded: sums.units_refunded,
            gross: money(sums.gross),
            refunded: money(sums.refunded),
            net: money(sums.gross - sums.refunded),
        }
    }
}

/// Returns the sums of each currency, by its code.
fn bodies(sums: &SumsByCurrency) -> Vec<SumBody> {
    let sums = sums.0.iter();
    sums.map(|(&currency, &sums)| SumBody::new(currency, sums))
        .collect()
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RevenueBucket")]
struct BucketBody {
    start: Timestamp,
    /// One for each currency with purchases in this bucket.
    sums: Vec<SumBody>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DropRevenue")]
struct DropBody {
    id: DropId,
    name: String,
    /// One for each currency with purchases of the drop in the window.
    sums: Vec<SumBody>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Revenue")]
pub(crate) struct RevenueBody {
    /// The first instant of the first bucket. Everything since then is counted.
    starts_at: Timestamp,
    /// The length of a bucket.
    bucket_seconds: u64,
    /// One for each currency with purchases in the window.
    totals: Vec<SumBody>,
    /// Oldest first, including empty ones.
    buckets: Vec<BucketBody>,
    /// A page of the drops with purchases in the window, newest drop first.
    drops: Vec<DropBody>,
    /// True if there is another page of drops.
    has_more: bool,
    position: Position,
}

/// `GET /v1/admin/revenue`
pub(crate) async fn revenue(
    State(app): State<App>,
    _: Admin,
    Fresh(params): Fresh<RevenueParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let drop_id = params.drop_id.map(|id| find(&app, id));
    let drop_id = drop_id.transpose()?.map(|drop| drop.drop_id);
    let request = Request::new(app, drop_id, &params)?;
    Ok(private(varied(
        match MEDIA_TYPES[preferred(&headers, &MEDIA_TYPES)] {
            CSV => {
                let stop = request.app.stop.clone();
                let drops = request.drops(params.starting_after)?;
                csv_files::file(RevenueFile { request, drops }, None, stop).await?
            }
            _ => conditional(&headers, &request.body(&params)?),
        },
    )))
}

/// A window and its drops.
struct Request {
    app: App,
    drop_id: Option<DropId>,
    is_all: bool,
    /// Without sums.
    buckets: Buckets<SumsByCurrency>,
}

impl Request {
    fn new(app: App, drop_id: Option<DropId>, params: &RevenueParams) -> Result<Self, Problem> {
        let (now, bucket) = (app.now(), params.bucket);
        let buckets = match params.window {
            Some(Window::All) => {
                let first = app.views.first_sale(drop_id);
                Buckets::since(first.unwrap_or(now), now, bucket)?
            }
            Some(Window::Last(window)) => Buckets::ending_at(now, Some(window), bucket)?,
            None => Buckets::ending_at(now, None, bucket)?,
        };
        Ok(Self {
            is_all: matches!(params.window, Some(Window::All)),
            app,
            drop_id,
            buckets,
        })
    }

    /// Returns the sums of a drop, or of all, by bucket.
    fn filled(&self, drop_id: Option<DropId>) -> Buckets<SumsByCurrency> {
        let mut buckets = self.buckets.emptied();
        let is_whole_hours = buckets.length_seconds().is_multiple_of(HOUR_SECONDS);
        let by = match is_whole_hours {
            true => Resolution::Hours,
            false => Resolution::Minutes,
        };
        buckets.fill(self.app.views.revenue_rows(drop_id, by, buckets.from()));
        buckets
    }

    fn body(&self, params: &RevenueParams) -> Result<RevenueBody, Problem> {
        // Read before the rows, so that the rows are at least as new.
        let position = self.app.views.position();
        let buckets = self.filled(self.drop_id);
        let mut totals = SumsByCurrency::default();
        for (_, sums) in buckets.starts() {
            sums.0
                .iter()
                .for_each(|(&currency, &sums)| totals += (currency, sums));
        }
        let limit = params.limit.map_or(MOST_LISTED, |Limit(limit)| limit);
        let mut drops = self.drops(params.starting_after)?;
        let has_more = drops.len() > limit;
        drops.truncate(limit);
        let bucket = |(start, sums)| BucketBody {
            start,
            sums: bodies(sums),
        };
        Ok(RevenueBody {
            starts_at: buckets.from(),
            bucket_seconds: buckets.length_seconds(),
            totals: bodies(&totals),
            buckets: buckets.starts().map(bucket).collect(),
            drops: drops.into_iter().filter_map(|id| self.drop(id)).collect(),
            has_more,
            position,
        })
    }

    /// Returns the drops with purchases in the window that follow `after`, newest first.
    fn drops(&self, after: Option<DropId>) -> Result<VecDeque<DropId>, Problem> {
        let app = &self.app;
        let after = after.map(|after| {
            app.views
                .drop(after)
                .ok_or_else(|| Problem::invalid_query("starting_after", "must be the id of a drop"))
        });
        let after = after.transpose()?;
        let sold: Vec<DropId> = match self.drop_id {
            Some(drop_id) => vec![drop_id],
            None => app.views.drops_sold_since(self.buckets.from()),
        };
        let follows = |&drop_id: &DropId| {
            let Some(after) = &after else {
                return true;
            };
            let drop = app.views.drop(drop_id);
            drop.is_some_and(|drop| {
                (drop.row.scheduled_at, drop_id) < (after.row.scheduled_at, after.drop_id)
            })
        };
        Ok(sold.into_iter().filter(follows).collect())
    }

    fn drop(&self, drop_id: DropId) -> Option<DropBody> {
        let drop = self.app.views.drop(drop_id)?;
        let from = (!self.is_all).then(|| self.buckets.from());
        let sums = bodies(&self.app.views.revenue(Some(drop_id), from));
        (!sums.is_empty()).then(|| DropBody {
            id: drop_id,
            name: drop.row.terms.name.as_str().to_owned(),
            sums,
        })
    }
}

/// The file of a request: a line for each drop, bucket and currency with purchases.
struct RevenueFile {
    request: Request,
    /// The drops that are not yet read.
    drops: VecDeque<DropId>,
}

struct Line {
    start: Timestamp,
    drop_id: DropId,
    drop_name: String,
    sum: SumBody,
}

impl List for RevenueFile {
    type Row = Line;

    const NAME: &'static str = "revenue";
    const HEAD: &'static str = "start,drop_id,drop_name,currency,purchases,units_sold,units_refunded,gross,refunded,net\r\n";

    /// Returns the lines of one drop, whatever their number: they are counted together.
    async fn next(&mut self, _most: usize) -> Result<Vec<Line>, Problem> {
        while let Some(drop_id) = self.drops.pop_front() {
            let Some(drop) = self.request.app.views.drop(drop_id) else {
                continue;
            };
            let mut lines = vec![];
            for (start, sums) in self.request.filled(Some(drop_id)).starts() {
                lines.extend(bodies(sums).into_iter().map(|sum| Line {
                    start,
                    drop_id,
                    drop_name: drop.row.terms.name.as_str().to_owned(),
                    sum,
                }));
            }
            if !lines.is_empty() {
                return Ok(lines);
            }
        }
        Ok(vec![])
    }

    fn write(lines: &mut Lines, row: &Line) -> Result<(), Problem> {
        let sum = &row.sum;
        lines.add(&[
            row.start.to_string(),
            row.drop_id.to_string(),
            inert(&row.drop_name).into_owned(),
            sum.net.currency.code().to_owned(),
            sum.purchases.to_string(),
            sum.units_sold.to_string(),
            sum.units_refunded.to_string(),
            sum.gross.amount.to_string(),
            sum.refunded.amount.to_string(),
            sum.net.amount.to_string(),
        ])
    }
}
