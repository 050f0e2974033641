//! The variants of a product, such as its sizes, and their codes.

use std::collections::HashSet;

use domain::values::{CatalogueId, DropName, InvalidValue, require_visible_characters};
use serde::{Deserialize, Serialize};

/// The most variants of a product.
pub const MOST_VARIANTS: usize = 100;

/// The shop's stock keeping unit: 1 to 64 visible characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sku(String);

impl Sku {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The maximum length, in characters.
    pub const MAX_CHARS: usize = 64;

    /// Trims a text and accepts it within the bounds.
    ///
    /// # Errors
    /// [`InvalidValue`] names the bounds, or the kind of character that is not allowed.
    pub fn new(text: &str) -> Result<Self, InvalidValue> {
        let text = text.trim();
        require_visible_characters(text)?;
        if !(1..=Self::MAX_CHARS).contains(&text.chars().count()) {
            let most = Self::MAX_CHARS;
            return Err(InvalidValue(format!("must have 1 to {most} characters")));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A Global Trade Item Number of 8, 12, 13 or 14 digits, the last of which is the check digit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Gtin(String);

impl Gtin {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Accepts digits with a right check digit.
    ///
    /// # Errors
    /// [`InvalidValue`] names the lengths, or the check digit that would be right.
    pub fn new(text: &str) -> Result<Self, InvalidValue> {
        let is_gtin = matches!(text.len(), 8 | 12 | 13 | 14)
            && text.bytes().all(|byte| byte.is_ascii_digit());
        let (given, digits) = match text.as_bytes().split_last() {
            Some((check, digits)) if is_gtin => (u32::from(check - b'0'), digits),
            Some(_) | None => {
                let rule = "must be a GTIN of 8, 12, 13 or 14 digits";
                return Err(InvalidValue(rule.to_owned()));
            }
        };
        // From the right, every digit counts three times and once in turn (GS1 General
        // Specifications, section 7.9).
        let weights = [3, 1].into_iter().cycle();
        let weighted = digits.iter().rev().zip(weights);
        let sum: u32 = weighted
            .map(|(digit, weight)| u32::from(digit - b'0') * weight)
            .sum();
        let check = (10 - sum % 10) % 10;
        match check == given {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidValue(format!(
                "must end with its check digit, which is {check}"
            ))),
        }
    }
}

/// A variant of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    pub id: CatalogueId,
    pub name: DropName,
    pub sku: Option<Sku>,
    pub gtin: Option<Gtin>,
}

/// The variants of a product in the shop's order: at most [`MOST_VARIANTS`], with different ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variants(Vec<Variant>);

/// Why variants were rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidVariants {
    TooMany,
    /// The index of a variant whose id an earlier one has.
    Repeated(usize),
}

impl Variants {
    /// Accepts variants within the bounds.
    ///
    /// # Errors
    /// [`InvalidVariants`].
    pub fn new(variants: Vec<Variant>) -> Result<Self, InvalidVariants> {
        if variants.len() > MOST_VARIANTS {
            return Err(InvalidVariants::TooMany);
        }
        let mut ids = HashSet::new();
        match variants.iter().position(|variant| !ids.insert(&variant.id)) {
            Some(index) => Err(InvalidVariants::Repeated(index)),
            None => Ok(Self(variants)),
        }
    }

    #[must_use]
    pub fn all(&self) -> &[Variant] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gtin_of_each_length_is_accepted_with_its_check_digit_only() {
        for good in [
            "96385074",
            "036000291452",
            "4006381333931",
            "10614141000415",
        ] {
            assert!(Gtin::new(good).is_ok(), "{good}");
            let (digits, check) = good.split_at(good.len() - 1);
            let check: u32 = check.parse().unwrap();
            for other in (0..10).filter(|other| *other != check) {
                let error = Gtin::new(&format!("{digits}{other}")).unwrap_err();
                assert_eq!(
                    error.0,
                    format!("must end with its check digit, which is {check}")
                );
            }
        }
        for bad in [
            "",
            "9638507",
            "963850741",
            "40063813339a1",
            "١٢٣٤٥٦٧٨",
            " 96385074",
        ] {
            let error = Gtin::new(bad).unwrap_err();
            assert_eq!(error.0, "must be a GTIN of 8, 12, 13 or 14 digits", "{bad}");
        }
    }

    #[test]
    fn sku_is_visible_and_bounded() {
        assert_eq!(Sku::new(" A-1 ").unwrap().0, "A-1");
        assert!(Sku::new(&"é".repeat(64)).is_ok());
        for bad in ["", "  ", "a\tb", "a\u{200b}b", &"é".repeat(65)] {
            assert!(Sku::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn variants_are_bounded_and_have_different_ids() {
        let variant = |id: &str| Variant {
            id: CatalogueId::new(id).unwrap(),
            name: DropName::new("M").unwrap(),
            sku: None,
            gtin: None,
        };
        let many = |count: usize| (0..count).map(|id| variant(&id.to_string())).collect();
        assert!(Variants::new(many(MOST_VARIANTS)).is_ok());
        let refused = Variants::new(many(MOST_VARIANTS + 1));
        assert_eq!(refused, Err(InvalidVariants::TooMany));
        let refused = Variants::new(vec![variant("a"), variant("A"), variant("a")]);
        assert_eq!(refused, Err(InvalidVariants::Repeated(2)));
    }
}
