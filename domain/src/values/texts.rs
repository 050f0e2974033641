//! Trimmed texts of bounded length. A text has two rules: `new` for input, and `stored` for a text
//! that is already in the log or in a view. The second rule is older and more permissive, so that a
//! history from before a rule stays readable.
//!
//! Source: docs/decisions/0039-texts-by-unicode-properties.md.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::InvalidValue;
use super::characters::{self, caseless, nfc};
use super::visitor::TextVisitor;

/// Normalizes a text, or rejects it.
type Rule = fn(&str) -> Result<Cow<'_, str>, InvalidValue>;

macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $min:literal ..= $max:literal, $new:expr, stored: $stored:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The maximum length, in characters.
            pub const MAX_CHARS: usize = $max;

            /// Trims an input text and accepts it within the bounds.
            ///
            /// # Errors
            /// [`InvalidValue`] names the bounds, or the kind of character that is not allowed.
            pub fn new(text: &str) -> Result<Self, InvalidValue> {
                checked_text(text, $min, $max, $new).map(Self)
            }

            /// Accepts a stored text, by the rule that every release has kept.
            ///
            /// # Errors
            /// [`InvalidValue`], as for `new`.
            pub fn stored(text: &str) -> Result<Self, InvalidValue> {
                checked_text(text, $min, $max, $stored).map(Self)
            }

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

        /// Uses the rule for stored texts. Requests use [`Entered`].
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor(Self::stored))
            }
        }
    };
}

/// A text with a rule for input and one for stored texts.
pub trait Text: Sized {
    /// Applies the rule for input.
    ///
    /// # Errors
    /// [`InvalidValue`].
    fn new(text: &str) -> Result<Self, InvalidValue>;

    /// Applies the rule for stored texts.
    ///
    /// # Errors
    /// [`InvalidValue`].
    fn stored(text: &str) -> Result<Self, InvalidValue>;

    fn as_str(&self) -> &str;
}

/// A text in a request: deserialized by the rule for input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered<T>(pub T);

impl<'de, T: Text> Deserialize<'de> for Entered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(T::new)).map(Self)
    }
}

/// Deserializes an optional stored text. It must be trimmed: surrounding white space is not part of
/// any commitment, so it could be altered without detection.
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

/// The rule for ids: in NFC, and only visible, assigned characters.
fn identifier(text: &str) -> Result<Cow<'_, str>, InvalidValue> {
    let text = nfc(text);
    characters::refuse_in_ids(&text)?;
    Ok(text)
}

/// The rule for ids of other systems, which are stored unchanged.
fn foreign_identifier(text: &str) -> Result<Cow<'_, str>, InvalidValue> {
    characters::refuse_in_ids(text)?;
    Ok(text.into())
}

/// Rejects control characters and characters that are invisible, unassigned, or change the
/// direction of text: in a URL, they must be percent-encoded.
///
/// # Errors
/// [`InvalidValue`] names the kind of character, or its code point.
pub fn require_visible_characters(text: &str) -> Result<(), InvalidValue> {
    characters::refuse_in_ids(text)
}

/// The rule for ids that the shop gives to creators, products and variants: safe in a path, a file
/// name and a spreadsheet.
fn catalogue_identifier(text: &str) -> Result<Cow<'_, str>, InvalidValue> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    // Browsers remove these two from a path.
    if matches!(text, "." | "..") {
        return Err(InvalidValue::new("must not be '.' or '..'"));
    }
    if text.chars().all(is_allowed) {
        return Ok(text.into());
    }
    Err(InvalidValue::new(
        "must have only the characters A-Z, a-z, 0-9, '.', '_' and '-'",
    ))
}

fn visible_ascii(text: &str) -> Result<Cow<'_, str>, InvalidValue> {
    if text.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(text.into());
    }
    Err(InvalidValue::new("must have only visible ASCII characters"))
}

/// The rule for names: one line with a visible character, and no change of text direction.
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

/// The beginnings of a picture's address. Those of stored addresses are in lower case.
const PICTURE_STARTS: [&str; 4] = ["https://", "http://", "/", "data:image/"];

/// The rule for new addresses of pictures. Schemes and media types have no case (RFC 3986, section
/// 3.1); they are stored in lower case, as every release reads them.
fn picture_address(text: &str) -> Result<Cow<'_, str>, InvalidValue> {
    one_line(text)?;
    let lower = |start: &&str| {
        let (own, rest) = text.split_at_checked(start.len())?;
        let is_one = own.eq_ignore_ascii_case(start);
        is_one.then(|| format!("{start}{rest}").into())
    };
    match stored_picture_address(text) {
        Ok(text) => Ok(text),
        Err(other) => PICTURE_STARTS.iter().find_map(lower).ok_or(other),
    }
}

fn stored_picture_address(text: &str) -> Result<Cow<'_, str>, InvalidValue> {
    one_line(text)?;
    if PICTURE_STARTS.iter().any(|start| text.starts_with(start)) {
        return Ok(text.into());
    }
    Err(InvalidValue::new(
        "must be an http or https address, a path on this server, or a data:image/ URL",
    ))
}

fn checked_text(text: &str, min: usize, max: usize, rule: Rule) -> Result<Arc<str>, InvalidValue> {
    let text = text.trim();
    let kept = rule(text);
    // The stored form determines the length; for a rejected text, the text itself.
    let counted = kept.as_deref().unwrap_or(text);
    // A text has at least as many bytes as characters, so a usual short text needs no count.
    let fits = counted.len() <= max || counted.chars().count() <= max;
    if counted.len() < min || !fits {
        return Err(InvalidValue::new(format!(
            "must have {min} to {max} characters"
        )));
    }
    kept.map(Arc::from)
}

bounded_text!(
    /// A drop's name, as shoppers see it.
    DropName, 1..=200, name, stored: one_line
);
bounded_text!(
    /// A drop's description; line breaks are kept.
    Description, 0..=5_000, description, stored: many_lines
);
bounded_text!(
    /// The address of a drop's picture: an absolute `http(s)` address, a path on this server, or a
    /// `data:` URL.
    ImageUrl, 1..=2_048, picture_address, stored: stored_picture_address
);
bounded_text!(
    /// The shop's identifier of a creator, a product or a variant. Compared byte by byte.
    CatalogueId, 1..=64, catalogue_identifier, stored: catalogue_identifier
);
bounded_text!(
    /// The name that the drops of one group have in common. Compared byte by byte.
    LimitGroup, 1..=64, visible_ascii, stored: visible_ascii
);
bounded_text!(
    Reason, 1..=500, name, stored: one_line
);
bounded_text!(
    /// The description of a webhook endpoint, for administrators.
    EndpointLabel, 0..=500, name, stored: one_line
);
bounded_text!(
    /// The name that a buyer agreed to show to others.
    DisplayName, 1..=100, name, stored: one_line
);
bounded_text!(
    /// The payment system's identifier of a payment. Compared byte by byte.
    PaymentReference, 1..=200, foreign_identifier, stored: one_line
);
bounded_text!(
    /// The carrier's identifier of a parcel, or the address where it is followed.
    Tracking, 1..=500, foreign_identifier, stored: one_line
);
bounded_text!(
    /// The shop's identifier of a buyer. Two ids that are equal without regard to case, by
    /// Unicode's canonical caseless matching (D145), or differ only in surrounding white space,
    /// are one buyer.
    BuyerId, 1..=128, identifier, stored: one_line
);

/// Source: docs/decisions/0054-buyers-are-compared-by-case-folding.md.
impl BuyerId {
    /// Returns the form in which buyer ids are compared: case-folded, in NFC. It is not a copy if
    /// the id is in that form already.
    #[must_use]
    pub fn comparable(&self) -> Arc<str> {
        if self.is_plain() {
            return Arc::clone(&self.0);
        }
        caseless(&self.0).into()
    }

    /// Returns the spelling without regard to case as release 0.1.0 compared it: lower case, in
    /// NFC. Ids of one spelling have one comparison form, but not the reverse: `maß` and `mass`.
    /// Scopes of idempotency keys in the log and the `sub` of tokens rest on it.
    #[must_use]
    pub fn spelling(&self) -> Arc<str> {
        if self.is_plain() {
            return Arc::clone(&self.0);
        }
        // Normalized again after lower-casing, which may separate a base and its mark.
        nfc(&nfc(&self.0).to_lowercase()).into()
    }

    fn is_plain(&self) -> bool {
        let is_plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
        self.0.bytes().all(is_plain)
    }

    /// Returns true if it is in NFC, as every id is that was accepted since ids are normalized.
    #[must_use]
    pub fn is_nfc(&self) -> bool {
        *nfc(&self.0) == *self.0
    }

    /// Returns the form in which buyer ids were compared before they were normalized: lower case
    /// alone. Ids that were two buyers then are not a fault of the log.
    #[must_use]
    pub fn comparable_before_nfc(&self) -> Arc<str> {
        self.0.to_lowercase().into()
    }
}
