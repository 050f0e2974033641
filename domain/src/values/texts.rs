//! Texts within bounds, trimmed.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::InvalidValue;
use super::visitor::TextVisitor;

macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $min:literal ..= $max:literal, $rule:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest text allowed, in characters.
            pub const MAX_CHARS: usize = $max;

            /// Trims the text and accepts it within the bounds.
            ///
            /// # Errors
            /// [`InvalidValue`] names the bounds, or the kind of character that is not allowed.
            pub fn new(text: &str) -> Result<Self, InvalidValue> {
                checked_text(text, $min, $max, $rule).map(Self)
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl StoredText for $name {
            fn new(text: &str) -> Result<Self, InvalidValue> {
                Self::new(text)
            }

            fn as_str(&self) -> &str {
                self.as_str()
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor(Self::new))
            }
        }
    };
}

/// A text that was stored: as this program writes it, and not merely so that it could be read.
pub(crate) trait StoredText: Sized {
    fn new(text: &str) -> Result<Self, InvalidValue>;
    fn as_str(&self) -> &str;
}

/// Reads a stored text, if there is one. What trimming would take away stands in no commitment, so it could be altered unseen.
pub(crate) fn as_stored<'de, T: StoredText, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_str(TextVisitor(|text| {
        let value = T::new(text)?;
        if value.as_str() == text {
            Ok(Some(value))
        } else {
            Err(InvalidValue::new("must be trimmed where it is stored"))
        }
    }))
}

fn one_line(text: &str) -> Result<(), InvalidValue> {
    no_control(text, |_| false)
}

fn many_lines(text: &str) -> Result<(), InvalidValue> {
    no_control(text, |c| matches!(c, '\r' | '\n' | '\t'))
}

fn no_control(text: &str, except: fn(char) -> bool) -> Result<(), InvalidValue> {
    if text.chars().any(|c| c.is_control() && !except(c)) {
        return Err(InvalidValue::new("must not contain control characters"));
    }
    Ok(())
}

fn picture_address(text: &str) -> Result<(), InvalidValue> {
    one_line(text)?;
    let starts = ["https://", "http://", "/", "data:image/"];
    if starts.iter().any(|start| text.starts_with(start)) {
        return Ok(());
    }
    Err(InvalidValue::new(
        "must be an http or https address, a path on this server, or a data:image/ URL",
    ))
}

fn checked_text(
    text: &str,
    min: usize,
    max: usize,
    rule: fn(&str) -> Result<(), InvalidValue>,
) -> Result<Arc<str>, InvalidValue> {
    let text = text.trim();
    // Bytes are at least as many as characters, so the usual short text is not counted.
    let fits = text.len() <= max || text.chars().count() <= max;
    if text.len() < min || !fits {
        return Err(InvalidValue::new(format!(
            "must have {min} to {max} characters"
        )));
    }
    rule(text)?;
    Ok(text.into())
}

bounded_text!(
    /// A drop's name, as shoppers read it.
    DropName, 1..=200, one_line
);
bounded_text!(
    /// A drop's description; line breaks are kept.
    Description, 0..=5_000, many_lines
);
bounded_text!(
    /// Where a drop's picture is: an absolute `http(s)` address, a path on this server, or a `data:` URL.
    ImageUrl, 1..=2_048, picture_address
);
bounded_text!(
    /// Why stock was adjusted.
    Reason, 1..=500, one_line
);
bounded_text!(
    /// The name that a buyer agreed to show to others.
    DisplayName, 1..=100, one_line
);
bounded_text!(
    /// What the shop's payment system calls a payment.
    PaymentReference, 1..=200, one_line
);
bounded_text!(
    /// What the shop calls a buyer. Two that differ only in case or outer white space are one buyer.
    BuyerId, 1..=128, one_line
);

impl BuyerId {
    /// The form that buyers are compared by: lower case. The same text, not a copy, where it is so already.
    #[must_use]
    pub fn comparable(&self) -> Arc<str> {
        let is_plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
        if self.0.bytes().all(is_plain) {
            Arc::clone(&self.0)
        } else {
            self.0.to_lowercase().into()
        }
    }
}
