//! Short codes for machines: lower-case letters, digits and underscores, so that they cannot
//! contain personal data by accident.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::InvalidValue;
use super::visitor::TextVisitor;

macro_rules! code {
    ($(#[$doc:meta])* $name:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The maximum length, in characters.
            pub const MAX_CHARS: usize = $max;

            /// Accepts lower-case ASCII letters, digits and underscores.
            ///
            /// # Errors
            /// [`InvalidValue`] if the code is empty, too long, or has other characters.
            pub fn new(code: &str) -> Result<Self, InvalidValue> {
                let is_plain =
                    |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
                if code.is_empty() || code.len() > $max || !code.bytes().all(is_plain) {
                    return Err(InvalidValue::new(format!(
                        "must have 1 to {} characters of a-z, 0-9 and _",
                        $max
                    )));
                }
                Ok(Self(code.into()))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor(Self::new))
            }
        }
    };
}

code!(
    /// The name of a payment provider, such as `stripe`.
    ProviderName, 32
);
code!(
    /// Why a payment or a refund failed, as the provider codes it: `card_declined`.
    FailureCode, 64
);

impl FailureCode {
    /// Returns the code, or `unknown` for a text that is not a code.
    #[must_use]
    pub fn or_unknown(code: &str) -> Self {
        Self::new(code).unwrap_or_else(|_| Self("unknown".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_has_lower_case_letters_digits_and_underscores() {
        assert_eq!(
            FailureCode::new("card_declined2").unwrap().as_str(),
            "card_declined2"
        );
        let longest = "x".repeat(FailureCode::MAX_CHARS);
        assert!(FailureCode::new(&longest).is_ok());
        for code in [
            "",
            "Card",
            "card declined",
            "card-declined",
            "é",
            &format!("{longest}x"),
        ] {
            assert!(FailureCode::new(code).is_err(), "{code}");
            assert_eq!(FailureCode::or_unknown(code).as_str(), "unknown");
        }
        assert!(serde_json::from_str::<ProviderName>("\"Stripe\"").is_err());
    }
}
