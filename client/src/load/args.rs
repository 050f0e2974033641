//! The options of `holdfast load`, and what follows from them.
//!
//! Promise: whatever the command line accepts is within the domain's bounds.
//! Limit: whether this machine and that server can bear it shows when it runs.

use chrono::Utc;
use clap::value_parser;
use domain::values::{
    Currency, DropName, HoldSeconds, InvalidValue, Money, Quantity, StockCount, Timestamp,
};
use terminal::table::grouped;

use super::verdict::Expected;
use crate::access::ServerArgs;
use crate::calls::NewDrop;

/// How long a hold lasts when winners buy, and when nobody does.
const HOLD_SECONDS: (u32, u32) = (60, 3);
/// The drop ends by itself, so that it does not stand in the shop for ever.
const ENDS_AFTER_SECONDS: u32 = 3_600;
/// Race buyers for the units of a fresh drop, and count the outcome from the log
///
/// Exits with 0 only if nothing was oversold, nothing acknowledged is missing from the log, nothing happened twice and
/// no request failed. The drop is cancelled at the end, also after an error or Ctrl-C.
#[derive(Debug, Clone, clap::Args)]
pub struct LoadArgs {
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,

    /// Buyers that race
    #[arg(long, env = "HOLDFAST_LOAD_BUYERS", default_value_t = 2_000, value_parser = value_parser!(u32).range(1..=10_000_000))]
    pub buyers: u32,

    /// Units that they race for
    #[arg(long, env = "HOLDFAST_LOAD_UNITS", default_value_t = 100, value_parser = value_parser!(u32).range(1..=i64::from(StockCount::MAX)))]
    pub units: u32,

    /// Units that each buyer asks for
    #[arg(long, env = "HOLDFAST_LOAD_QUANTITY", default_value_t = 1, value_parser = value_parser!(u32).range(1..=i64::from(Quantity::MAX)))]
    pub quantity: u32,

    /// TCP connections that the buyers share [default: one for each buyer]
    #[arg(long, env = "HOLDFAST_LOAD_CONNECTIONS", value_parser = value_parser!(u32).range(1..))]
    pub connections: Option<u32>,

    /// Winners buy what they hold (the default)
    #[arg(long, env = "HOLDFAST_LOAD_PURCHASE", overrides_with = "no_purchase")]
    pub purchase: bool,

    /// Winners keep their holds and do not buy
    #[arg(long, env = "HOLDFAST_LOAD_NO_PURCHASE", overrides_with = "purchase")]
    pub no_purchase: bool,

    /// Nobody buys: wait until every hold has expired, and measure how late each was released
    #[arg(long, env = "HOLDFAST_LOAD_ABANDON", conflicts_with = "purchase")]
    pub abandon: bool,

    /// How long a hold lasts, in seconds [default: 60, with --abandon 3]
    #[arg(long, env = "HOLDFAST_LOAD_HOLD_SECONDS", value_parser = value_parser!(u32).range(i64::from(HoldSeconds::MIN)..=i64::from(HoldSeconds::MAX)))]
    pub hold_seconds: Option<u32>,

    /// Fail if a hold is released later than this after its deadline, in milliseconds
    #[arg(long, env = "HOLDFAST_LOAD_MAX_LATENESS_MS")]
    pub max_lateness_ms: Option<u32>,

    /// How often a request is sent again, with the same key, after a 503, a timeout or a lost connection
    #[arg(long, env = "HOLDFAST_LOAD_RETRIES", default_value_t = 0)]
    pub retries: u32,

    /// How long one answer is waited for, in seconds
    #[arg(long, env = "HOLDFAST_LOAD_TIMEOUT_SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(1..=3_600))]
    pub timeout_seconds: u64,
}

impl LoadArgs {
    /// Whether winners buy.
    pub(super) fn buys(&self) -> bool {
        !self.no_purchase && !self.abandon
    }

    /// How many sockets there will be.
    pub(super) fn sockets(&self) -> u32 {
        self.connections.unwrap_or(self.buyers).min(self.buyers)
    }

    /// How long a hold lasts, in seconds.
    pub(super) fn hold_for(&self) -> u32 {
        let (sale, abandon) = HOLD_SECONDS;
        let default = if self.abandon { abandon } else { sale };
        self.hold_seconds.unwrap_or(default)
    }

    /// What the verdict is to hold the log against.
    pub(super) fn expected(&self) -> Expected {
        Expected {
            quantity: self.quantity,
            abandoned: self.abandon,
            max_lateness_ms: self.max_lateness_ms.map(i64::from),
        }
    }

    /// The drop that they race for.
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
    fn purchase_and_no_purchase_override_each_other_and_the_last_one_wins() {
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
    fn an_abandoned_hold_is_short_unless_told_otherwise() {
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
    fn the_widest_options_still_make_a_drop() {
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
