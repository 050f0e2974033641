//! The options of `holdfast load`, and values derived from them.
//!
//! Promise: every accepted command line is within the domain's bounds.
//! Limit: only a run shows whether this machine and the server can sustain the load.

use chrono::Utc;
use domain::values::{
    Currency, DropName, HoldSeconds, InvalidValue, Money, Quantity, StockCount, Timestamp,
};
use terminal::arguments::whole;
use terminal::table::grouped;

use super::verdict::Expected;
use crate::access::ServerArgs;
use crate::calls::{Listed, NewDrop};

/// How long a hold lasts when winners buy, and with --abandon.
const HOLD_SECONDS: (u32, u32) = (60, 3);
/// The drop has an end, so that it does not stay in the shop forever.
const ENDS_AFTER_SECONDS: u32 = 3_600;
/// Race buyers for the units of a fresh drop, and count the outcome from the log
///
/// Exits with 0 only if nothing was oversold, nothing acknowledged is missing from the log, nothing
/// happened twice and no request failed. The drop is cancelled at the end, also after an error or
/// Ctrl-C. It requires no challenge: the buyers' computing would not load the server.
#[derive(Debug, Clone, clap::Args)]
pub struct LoadArgs {
    #[command(flatten)]
    pub server: ServerArgs,

    /// Buyers that race
    #[arg(long, env = "HOLDFAST_LOAD_BUYERS", default_value_t = 2_000, value_parser = whole::<u32, 1, 10_000_000>)]
    pub buyers: u32,

    /// Units on sale
    #[arg(long, env = "HOLDFAST_LOAD_UNITS", default_value_t = 100, value_parser = whole::<u32, 1, { StockCount::MAX }>)]
    pub units: u32,

    /// Units that each buyer requests
    #[arg(long, env = "HOLDFAST_LOAD_QUANTITY", default_value_t = 1, value_parser = whole::<u32, 1, { Quantity::MAX }>)]
    pub quantity: u32,

    /// TCP connections that the buyers share [default: one for each buyer]
    #[arg(long, env = "HOLDFAST_LOAD_CONNECTIONS", value_parser = whole::<u32, 1, 1_000_000>)]
    pub connections: Option<u32>,

    /// Winners purchase their holds (the default)
    #[arg(
        long,
        env = "HOLDFAST_LOAD_PURCHASE",
        overrides_with = "no_purchase",
        conflicts_with = "no_purchase"
    )]
    pub purchase: bool,

    /// Winners keep their holds without purchasing them
    #[arg(long, env = "HOLDFAST_LOAD_NO_PURCHASE", overrides_with = "purchase")]
    pub no_purchase: bool,

    /// Do not buy: wait until every hold has expired, and measure how late each expiry was recorded
    #[arg(long, env = "HOLDFAST_LOAD_ABANDON", conflicts_with = "purchase")]
    pub abandon: bool,

    /// How long a hold lasts, in seconds [default: 60, with --abandon 3]
    #[arg(long, env = "HOLDFAST_LOAD_HOLD_SECONDS", value_parser = whole::<u32, { HoldSeconds::MIN }, { HoldSeconds::MAX }>)]
    pub hold_seconds: Option<u32>,

    /// Fail if a hold's expiry is recorded later than this after its deadline, in milliseconds
    #[arg(long, env = "HOLDFAST_LOAD_MAX_LATENESS_MS", value_parser = whole::<u32, 0, 86_400_000>)]
    pub max_lateness_ms: Option<u32>,

    /// How often a request is retried, with the same key, after a 503, a timeout or a lost
    /// connection
    #[arg(long, env = "HOLDFAST_LOAD_RETRIES", default_value_t = 0, value_parser = whole::<u32, 0, 1_000>)]
    pub retries: u32,

    /// Longest wait for one response, in seconds
    #[arg(long, env = "HOLDFAST_LOAD_TIMEOUT_SECONDS", default_value_t = 30, value_parser = whole::<u64, 1, 3_600>)]
    pub timeout_seconds: u64,
}

impl LoadArgs {
    /// Reports whether winners buy.
    pub(super) fn buys(&self) -> bool {
        !self.no_purchase && !self.abandon
    }

    /// The number of sockets to open.
    pub(super) fn sockets(&self) -> u32 {
        self.connections.unwrap_or(self.buyers).min(self.buyers)
    }

    /// How long a hold lasts, in seconds.
    pub(super) fn hold_for(&self) -> u32 {
        let (sale, abandon) = HOLD_SECONDS;
        let default = if self.abandon { abandon } else { sale };
        self.hold_seconds.unwrap_or(default)
    }

    /// The expectations that the verdict is based on.
    pub(super) fn expected(&self) -> Expected {
        Expected {
            quantity: self.quantity,
            abandoned: self.abandon,
            max_lateness_ms: self.max_lateness_ms.map(i64::from),
        }
    }

    /// The drop whose units are on sale.
    pub(super) fn drop(&self) -> Result<NewDrop, InvalidValue> {
        let kind = if self.abandon {
            "Abandonment"
        } else {
            "Stampede"
        };
        let (buyers, units) = (grouped(self.buyers.into()), grouped(self.units.into()));
        let ends_at = Timestamp::from(Utc::now()).plus_seconds(ENDS_AFTER_SECONDS);
        Ok(NewDrop {
            name: DropName::new(&format!("{kind}: {buyers} buyers, {units} units"))?,
            description: None,
            image_url: None,
            price: Money::price(4_900, Currency::new("USD")?)?,
            total_stock: StockCount::new(self.units.into())?,
            starts_at: None,
            ends_at: Some(ends_at),
            hold_seconds: HoldSeconds::new(self.hold_for().into())?,
            max_per_hold: Quantity::new(self.quantity.into())?,
            max_per_buyer: None,
            listed: Listed::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        load: LoadArgs,
    }

    #[test]
    fn last_of_purchase_and_no_purchase_wins() {
        let buys = |options: &str| {
            let line = format!("load {options}");
            let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
            cli.load.buys()
        };
        assert!(buys(""));
        assert!(!buys("--no-purchase"));
        assert!(buys("--no-purchase --purchase"));
        assert!(!buys("--purchase --no-purchase"));
        assert!(!buys("--abandon"));
    }

    #[test]
    fn abandoned_holds_are_short_by_default() {
        let hold_for = |options: &str| {
            let line = format!("load {options}");
            let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
            cli.load.hold_for()
        };
        assert_eq!(hold_for(""), 60);
        assert_eq!(hold_for("--abandon"), 3);
        assert_eq!(hold_for("--abandon --hold-seconds 9"), 9);
    }

    #[test]
    fn largest_options_still_make_a_valid_drop() {
        let line = "load --buyers 10000000 --units 10000000 --quantity 1000 --hold-seconds 3600";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        assert!(cli.load.drop().is_ok());
        for line in [
            "load --buyers 0",
            "load --units 0",
            "load --quantity 1001",
            "load --hold-seconds 0",
        ] {
            assert!(
                Cli::try_parse_from(line.split_whitespace()).is_err(),
                "{line}"
            );
        }
    }
}
