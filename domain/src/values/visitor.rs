//! Deserializes a value from a borrowed text, without a copy: an event has a dozen such values, and
//! start-up reads millions.

use std::fmt;

use serde::de::{self, Visitor};

use super::InvalidValue;

pub(super) struct TextVisitor<T>(pub(super) fn(&str) -> Result<T, InvalidValue>);

impl<T> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(de::Error::custom)
    }
}
