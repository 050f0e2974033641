//! The sample drops of a new shop.
//!
//! Promise: every sample is valid under the domain's rules. Stock is small and holds are short, so
//! that something happens within a minute.
//! Limit: invented goods. Pictures are small drawings in `data:` URLs, so they are not loaded from
//! another host.

use domain::values::{
    BuyerLimit, CatalogueId, Currency, Description, DropName, HoldSeconds, ImageUrl, InvalidValue,
    Money, Quantity, StockCount, Timestamp,
};

use crate::calls::{Listed, NewDrop};

/// When the upcoming drop starts, in seconds after it is first seeded.
const UPCOMING_AFTER_SECONDS: u32 = 600;

/// A drop, and its constant idempotency keys.
#[derive(Debug, Clone)]
pub struct Sample {
    key: &'static str,
    pub drop: NewDrop,
}

impl Sample {
    /// The idempotency key of the given creation, counted from 1; the drops of earlier generations
    /// were cancelled.
    #[must_use]
    pub fn key(&self, generation: u32) -> String {
        format!("{}-{generation}", self.key)
    }
}

struct Draft {
    key: &'static str,
    name: &'static str,
    description: &'static str,
    picture: &'static str,
    price: (i64, &'static str),
    stock: u32,
    hold_seconds: u32,
    max_per_hold: u32,
    max_per_buyer: u32,
    starts_after_seconds: Option<u32>,
    /// Its creator, product and variant, see [`super::shelf`].
    listed: [&'static str; 3],
}

const DRAFTS: [Draft; 4] = [
    Draft {
        key: "holdfast-sample-keyboard",
        name: "Halcyon 65 keyboard",
        description: "A compact keyboard in brushed aluminium, tuned by hand, with one key the colour of the \
            evening. Forty were milled; there is no second run.",
        picture: include_str!("keyboard.svg"),
        price: (18_900, "USD"),
        stock: 40,
        hold_seconds: 45,
        max_per_hold: 1,
        max_per_buyer: 1,
        starts_after_seconds: None,
        listed: ["halcyon", "halcyon-65", "ansi"],
    },
    Draft {
        key: "holdfast-sample-print",
        name: "Low Tide, risograph print",
        description: "Three colours on heavy cotton paper, 30 × 40 cm, signed and numbered. Printed at dawn, \
            while the drums were cool.",
        picture: include_str!("print.svg"),
        price: (6_500, "EUR"),
        stock: 60,
        hold_seconds: 30,
        max_per_hold: 2,
        max_per_buyer: 4,
        starts_after_seconds: None,
        listed: ["low-tide", "low-tide-print", "a3"],
    },
    Draft {
        key: "holdfast-sample-bowl",
        name: "Morning bowl, ash glaze",
        description: "Thrown on the wheel and fired with pine for three days. No two are alike; each holds \
            exactly one breakfast.",
        picture: include_str!("bowl.svg"),
        price: (7_200, "JPY"),
        stock: 24,
        hold_seconds: 20,
        max_per_hold: 2,
        max_per_buyer: 2,
        starts_after_seconds: None,
        listed: ["low-tide", "morning-bowl", "small"],
    },
    Draft {
        key: "holdfast-sample-record",
        name: "Far Side Sessions, first pressing",
        description: "Nine pieces for piano and short-wave radio on 180 g vinyl. The first pressing has a hand-cut \
            inner groove that never ends.",
        picture: include_str!("record.svg"),
        price: (3_400, "GBP"),
        stock: 80,
        hold_seconds: 60,
        max_per_hold: 2,
        max_per_buyer: 2,
        starts_after_seconds: Some(UPCOMING_AFTER_SECONDS),
        listed: ["low-tide", "far-side-sessions", "lp"],
    },
];

/// The samples as of `now`: three that start immediately and one that starts later.
#[must_use]
pub fn samples(now: Timestamp) -> Vec<Sample> {
    let sample = |draft: &Draft| Sample {
        key: draft.key,
        drop: draft
            .drop(now)
            .expect("the samples follow the domain's rules, see the test"),
    };
    DRAFTS.iter().map(sample).collect()
}

impl Draft {
    fn listed(&self) -> Result<Listed, InvalidValue> {
        let [creator_id, product_id, variant_id] = self.listed;
        Ok(Listed {
            creator_id: Some(CatalogueId::new(creator_id)?),
            product_id: Some(CatalogueId::new(product_id)?),
            variant_id: Some(CatalogueId::new(variant_id)?),
        })
    }

    fn drop(&self, now: Timestamp) -> Result<NewDrop, InvalidValue> {
        let (amount, currency) = self.price;
        Ok(NewDrop {
            name: DropName::new(self.name)?,
            description: Some(Description::new(self.description)?),
            image_url: Some(ImageUrl::new(&data_url(self.picture))?),
            price: Money::price(amount, Currency::new(currency)?)?,
            total_stock: StockCount::new(self.stock.into())?,
            starts_at: self.starts_after_seconds.map(|s| now.plus_seconds(s)),
            ends_at: None,
            hold_seconds: HoldSeconds::new(self.hold_seconds.into())?,
            max_per_hold: Quantity::new(self.max_per_hold.into())?,
            max_per_buyer: Some(BuyerLimit::new(self.max_per_buyer.into())?),
            listed: self.listed()?,
        })
    }
}

/// An SVG drawing as a URL: joins its lines and escapes the characters that a URL may not contain.
fn data_url(svg: &str) -> String {
    let joined: String = svg.lines().map(str::trim).collect();
    let mut url = String::from("data:image/svg+xml,");
    for c in joined.chars() {
        match c {
            '"' => url.push('\''), // Equivalent in SVG, and needs no escape.
            '<' | '>' | '#' | '%' | ' ' | '{' | '}' => {
                url.push_str(&format!("%{:02X}", u32::from(c)))
            }
            c => url.push(c),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_sample_is_valid_and_has_a_unique_key_and_name() {
        let samples = samples(Timestamp::from_millis(1_700_000_000_000));
        let keys: HashSet<&str> = samples.iter().map(|sample| sample.key).collect();
        let names: HashSet<&str> = samples.iter().map(|s| s.drop.name.as_str()).collect();
        assert_eq!((keys.len(), names.len()), (samples.len(), samples.len()));
    }

    #[test]
    fn three_samples_start_immediately_and_one_is_upcoming() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let starts: Vec<_> = samples(now).iter().map(|s| s.drop.starts_at).collect();
        let upcoming = now.plus_seconds(UPCOMING_AFTER_SECONDS);
        assert_eq!(starts, [None, None, None, Some(upcoming)]);
    }

    #[test]
    fn sample_holds_last_between_20_and_60_seconds() {
        for sample in samples(Timestamp::default()) {
            assert!((20..=60).contains(&sample.drop.hold_seconds.get()));
            let limit = sample.drop.max_per_buyer.unwrap().get();
            assert!(sample.drop.max_per_hold.get() <= limit);
        }
    }

    #[test]
    fn pictures_are_plain_urls_without_scripts_or_other_hosts() {
        for draft in &DRAFTS {
            let url = data_url(draft.picture);
            assert!(url.is_ascii(), "{}", draft.name);
            assert!(!url.contains(['"', '<', '>', '#', ' ']), "{}", draft.name);
            let beyond = url.replace("http://www.w3.org/2000/svg", "");
            assert!(!beyond.contains("http") && !beyond.contains("script"));
        }
    }
}
