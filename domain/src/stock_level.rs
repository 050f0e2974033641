//! The stock of a drop without numbers, for drops with `show_stock: level`.

use serde::{Deserialize, Serialize};

use crate::stock::Stock;
use crate::terms::DropTerms;
use crate::values::LowStock;

/// At most one unit of so many is left, if the terms say nothing else: 10 %.
const LOW_PART: u64 = 10;

/// How many units are available, roughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StockLevel {
    /// No unit is available.
    SoldOut,
    /// At most `low_stock_at` units are available; 10 % of the total if the drop has no such term.
    Low,
    InStock,
}

impl StockLevel {
    #[must_use]
    pub fn of(stock: Stock, terms: &DropTerms) -> Self {
        let available = u64::from(stock.available);
        let is_low = match terms.low_stock_at.map(LowStock::get) {
            Some(most) => available <= u64::from(most),
            None => available * LOW_PART <= u64::from(stock.total),
        };
        match (stock.available, is_low) {
            (0, _) => Self::SoldOut,
            (_, true) => Self::Low,
            (_, false) => Self::InStock,
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::{low_stock, stock, terms};

    #[test]
    fn level_changes_at_ten_percent_and_at_the_last_unit() {
        let of = |available, sold| StockLevel::of(stock(available, 0, sold), &terms());
        assert_eq!(of(11, 89), StockLevel::InStock);
        assert_eq!(of(10, 90), StockLevel::Low);
        assert_eq!(of(1, 99), StockLevel::Low);
        assert_eq!(of(0, 100), StockLevel::SoldOut);
        assert_eq!(of(1, 8), StockLevel::InStock);
        assert_eq!(of(0, 0), StockLevel::SoldOut);
    }

    #[test]
    fn terms_set_the_number_at_which_the_stock_is_low() {
        let terms = DropTerms {
            low_stock_at: Some(low_stock(3)),
            ..terms()
        };
        let of = |available| StockLevel::of(stock(available, 0, 0), &terms);
        assert_eq!(
            [of(4), of(3), of(1), of(0)],
            [
                StockLevel::InStock,
                StockLevel::Low,
                StockLevel::Low,
                StockLevel::SoldOut
            ]
        );
    }
}
