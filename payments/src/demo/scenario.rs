//! The behaviour of the demo's buyer.

use std::fmt;
use std::str::FromStr;

/// How a buyer of the demo pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// The payment is authorised immediately.
    Pays,
    /// The payment is declined. The buyer may try again.
    Declines,
    /// The payment is processing and cannot be cancelled, until it is authorised after this many
    /// seconds.
    PaysLate { after_seconds: u32 },
    /// A second intent for the same payment is authorised one second after the first, as when two
    /// tabs pay.
    PaysTwice,
    /// The payment is authorised, and the webhook is processed, before the start returns.
    WebhookFirst,
    /// The payment is authorised; refunds of it fail later.
    RefundFails,
}

impl Scenario {
    /// The longest delay, in seconds: a day.
    pub const MAX_DELAY_SECONDS: u32 = 86_400;
    /// One of each kind, for a list to choose from.
    pub const ALL: [Self; 6] = [
        Self::Pays,
        Self::Declines,
        Self::PaysLate { after_seconds: 90 },
        Self::PaysTwice,
        Self::WebhookFirst,
        Self::RefundFails,
    ];
}

/// A text that is not a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be pays, declines, pays_late=SECONDS (1 to {}), pays_twice, webhook_first or refund_fails",
    Scenario::MAX_DELAY_SECONDS
)]
pub struct UnknownScenario;

/// `pays_late=90`; the others are their name.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pays => f.write_str("pays"),
            Self::Declines => f.write_str("declines"),
            Self::PaysLate { after_seconds } => write!(f, "pays_late={after_seconds}"),
            Self::PaysTwice => f.write_str("pays_twice"),
            Self::WebhookFirst => f.write_str("webhook_first"),
            Self::RefundFails => f.write_str("refund_fails"),
        }
    }
}

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(text: &str) -> Result<Self, UnknownScenario> {
        let scenario = match text.strip_prefix("pays_late=") {
            Some(seconds) => seconds
                .parse()
                .ok()
                .filter(|seconds| (1..=Self::MAX_DELAY_SECONDS).contains(seconds))
                .map(|after_seconds| Self::PaysLate { after_seconds }),
            None => Self::ALL.into_iter().find(|one| one.to_string() == text),
        };
        scenario.ok_or(UnknownScenario)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_parsed_from_their_text() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.to_string().parse(), Ok(scenario));
        }
        let longest = Scenario::PaysLate {
            after_seconds: 86_400,
        };
        assert_eq!("pays_late=86400".parse(), Ok(longest));
        for text in [
            "",
            "pay",
            "pays_late",
            "pays_late=",
            "pays_late=0",
            "pays_late=86401",
        ] {
            assert!(text.parse::<Scenario>().is_err(), "{text}");
        }
    }
}
