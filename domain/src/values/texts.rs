//! Texts within bounds, trimmed. A text has two rules: `new` for one that comes in, and `stored` for
//! one that the log or a view holds already. The second is the older and wider one, so that a
//! history written before a rule was made stays readable.
//!
//! Source: docs/decisions/0039-texts-by-unicode-properties.md.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::InvalidValue;
use super::characters::{self, nfc};
use super::visitor::TextVisitor;

/// Changes a text into the form that is kept, and refuses one that may not be.
type Rule = fn(&str) -> Result<Cow<'_, str>, InvalidValue>;

macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $min:literal ..= $max:literal, $new:expr, stored: $stored:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest text allowed, in characters.
            pub const MAX_CHARS: usize = $max;

            /// Trims a text that comes in and accepts it within the bounds.
            ///
            /// # Errors
            /// [`InvalidValue`] names the bounds, or the kind of character that is not allowed.
            pub fn new(text: &str) -> Result<Self, InvalidValue> {
                checked_text(text, $min, $max, $new).map(Self)
            }

            /// The same for a text that is stored already, by the rule that every release kept.
            ///
            /// # Errors
            /// [`InvalidValue`].
            pub fn stored(text: &str) -> Result<Self, InvalidValue> {
                checked_text(text, $min, $max, $stored).map(Self)
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Text for $name {
            fn new(text: &str) -> Result<Self, InvalidValue> {
                Self::new(text)
            }

            fn stored(text: &str) -> Result<Self, InvalidValue> {
                Self::stored(text)
            }

            fn as_str(&self) -> &str {
                self.as_str()
            }
        }

        /// By the rule for stored texts. A request says [`Entered`].
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor(Self::stored))
            }
        }
    };
}

/// A text with a rule for what comes in and one for what is stored.
pub trait Text: Sized {
    /// By the rule for what comes in.
    ///
    /// # Errors
    /// [`InvalidValue`].
    fn new(text: &str) -> Result<Self, InvalidValue>;

    /// By the rule for what is stored.
    ///
    /// # Errors
    /// [`InvalidValue`].
    fn stored(text: &str) -> Result<Self, InvalidValue>;

    /// The text itself.
    fn as_str(&self) -> &str;
}

/// A text as a request brings it: read by the rule for what comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered<T>(pub T);

impl<'de, T: Text> Deserialize<'de> for Entered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(T::new)).map(Self)
    }
}

/// Reads a stored text, if there is one. What trimming would take away stands in no commitment, so it could be altered unseen.
pub(crate) fn as_stored<'de, T: Text, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_str(TextVisitor(|text| {
        let value = T::stored(text)?;
        if value.as_str() == text {
            Ok(Some(value))
        } else {
            Err(InvalidValue::new("must be trimmed where it is stored"))
        }
    }))
}

/// The rule for ids: in NFC, and only of characters that can be seen and told apart as such.
fn identifier(text: &str) -> Result<Cow<'_, str>, InvalidValue> {
    let text = nfc(text);
    characters::refuse_in_ids(&text)?;
    Ok(text)
}

/// The rule for ids of other systems, which are kept to the byte.
fn foreign_identifier(text: &str) -> Result<Cow<'_, str>, InvalidValue> {
    characters::refuse_in_ids(text)?;
    Ok(text.into())
}

/// The rule for names: one line in which something can be seen, and that leaves the direction of
/// the text around it alone.
fn name(text: &str) -> Result<Cow<'_, str>, InvalidValue> {
    one_line(text)?;
    characters::refuse_line_separators(text)?;
    characters::refuse_explicit_direction(text)?;
    characters::require_visible(text)?;
    Ok(text.into())
}

fn description(text: &str) -> Result<Cow<'_, str>, InvalidValue> {
    many_lines(text)?;
    characters::refuse_explicit_direction(text)?;
    Ok(text.into())
}

fn one_line(text: &str) -> Result<Cow<'_, str>, InvalidValue> {
    no_control(text, |_| false)
}

fn many_lines(text: &str) -> Result<Cow<'_, str>, InvalidValue> {
    no_control(text, |c| matches!(c, '\r' | '\n' | '\t'))
}

fn no_control(text: &str, except: fn(char) -> bool) -> Result<Cow<'_, str>, InvalidValue> {
    if text.chars().any(|c| c.is_control() && !except(c)) {
        return Err(InvalidValue::new("must not contain control characters"));
    }
    Ok(text.into())
}

fn picture_address(text: &str) -> Result<Cow<'_, str>, InvalidValue> {
    one_line(text)?;
    let starts = ["https://", "http://", "/", "data:image/"];
    if starts.iter().any(|start| text.starts_with(start)) {
        return Ok(text.into());
    }
    Err(InvalidValue::new(
        "must be an http or https address, a path on this server, or a data:image/ URL",
    ))
}

fn checked_text(text: &str, min: usize, max: usize, rule: Rule) -> Result<Arc<str>, InvalidValue> {
    let text = text.trim();
    let kept = rule(text);
    // The form that is kept is counted; of a text that is refused, the text itself.
    let counted = kept.as_deref().unwrap_or(text);
    // Bytes are at least as many as characters, so the usual short text is not counted.
    let fits = counted.len() <= max || counted.chars().count() <= max;
    if counted.len() < min || !fits {
        return Err(InvalidValue::new(format!(
            "must have {min} to {max} characters"
        )));
    }
    kept.map(Arc::from)
}

bounded_text!(
    /// A drop's name, as shoppers read it.
    DropName, 1..=200, name, stored: one_line
);
bounded_text!(
    /// A drop's description; line breaks are kept.
    Description, 0..=5_000, description, stored: many_lines
);
bounded_text!(
    /// Where a drop's picture is: an absolute `http(s)` address, a path on this server, or a `data:` URL.
    ImageUrl, 1..=2_048, picture_address, stored: picture_address
);
bounded_text!(
    /// Why stock was adjusted.
    Reason, 1..=500, name, stored: one_line
);
bounded_text!(
    /// The name that a buyer agreed to show to others.
    DisplayName, 1..=100, name, stored: one_line
);
bounded_text!(
    /// What the shop's payment system calls a payment. Compared to the byte.
    PaymentReference, 1..=200, foreign_identifier, stored: one_line
);
bounded_text!(
    /// What the shop calls a buyer. Two that are canonically equivalent (Unicode, UAX #15), or
    /// differ only in case or outer white space, are one buyer.
    BuyerId, 1..=128, identifier, stored: one_line
);

impl BuyerId {
    /// The form that buyers are compared by: lower case, in NFC. The same text, not a copy, where
    /// it is so already.
    #[must_use]
    pub fn comparable(&self) -> Arc<str> {
        let is_plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
        if self.0.bytes().all(is_plain) {
            return Arc::clone(&self.0);
        }
        // Again after lower case, which may leave a base and its mark apart.
        nfc(&nfc(&self.0).to_lowercase()).into()
    }

    /// Whether it is in NFC, as every id is that came in since ids have a normal form.
    #[must_use]
    pub fn is_nfc(&self) -> bool {
        *nfc(&self.0) == *self.0
    }

    /// The form that buyers were compared by before ids had a normal form: lower case alone. What
    /// was two buyers then is no fault of the log.
    #[must_use]
    pub fn comparable_before_nfc(&self) -> Arc<str> {
        self.0.to_lowercase().into()
    }
}
