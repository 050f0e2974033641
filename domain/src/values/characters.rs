//! The characters that are allowed in input texts, by their Unicode properties.
//!
//! Promise: an id that [`refuse_in_ids`] accepts has no character that is invisible, reorders its
//! neighbours, or is unassigned; its NFC is the same in every later version of Unicode (UAX 15,
//! section 3.1: normalisation of assigned characters is stable).
//! Limit: characters that look alike (Latin a, Cyrillic а) stay different; UTS 39 calls those
//! confusables.
//!
//! Source: UAX #9 (Bidi_Control), UAX #15 (NFC), UAX #44 (Default_Ignorable_Code_Point,
//! General_Category) and the core specification, section 3.13 (D145), of Unicode 17, by
//! `icu_properties`, `icu_normalizer` and `icu_casemap` 2.4.

use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::props::{
    BidiControl, DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup,
};
use icu_properties::{CodePointMapData, CodePointSetData};

use super::InvalidValue;

/// Returns a text in Normalization Form C, without a copy if it is in that form already.
pub(super) fn nfc(text: &str) -> Cow<'_, str> {
    match text.is_ascii() {
        true => text.into(),
        false => const { ComposingNormalizerBorrowed::new_nfc() }.normalize(text),
    }
}

/// Returns the form that all texts of a canonical caseless match share (D145), in NFC: decomposed,
/// by full case folding (`CaseFolding.txt`, C and F), composed. It depends on no language, so the
/// Turkish dotless U+0131 stays different from `i`.
pub(super) fn caseless(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // Decomposed first: U+0345 folds to a letter, which must come after all marks.
    let apart = const { DecomposingNormalizerBorrowed::new_nfd() }.normalize(text);
    let folded = const { CaseMapper::new() }.fold_string(&apart);
    nfc(&folded).into_owned()
}

fn is_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

/// Symbols with an empty glyph that are not white space: BRAILLE PATTERN BLANK, MUSICAL SYMBOL NULL
/// NOTEHEAD. Unicode has no property for them; every other empty glyph is
/// Default_Ignorable_Code_Point, a mark or white space.
const fn is_blank(c: char) -> bool {
    matches!(c, '\u{2800}' | '\u{1d159}')
}

/// Embeddings, overrides and isolates (UAX #9, section 2): they affect all text that follows them.
/// The three marks that act like letters (LRM, RLM, ALM) are not included.
const fn is_explicit_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn refused(c: char, why: &str) -> InvalidValue {
    InvalidValue::new(format!("must not contain U+{:04X}, {why}", u32::from(c)))
}

/// Rejects characters that an id must not contain.
pub(super) fn refuse_in_ids(text: &str) -> Result<(), InvalidValue> {
    for c in text.chars() {
        if c.is_control() {
            return Err(InvalidValue::new("must not contain control characters"));
        }
        if c.is_ascii() {
            continue;
        }
        if CodePointSetData::new::<BidiControl>().contains(c) {
            return Err(refused(c, "which changes the direction of text"));
        }
        if is_ignorable(c) || is_blank(c) {
            return Err(refused(c, "which is invisible"));
        }
        let category = category(c);
        if GeneralCategoryGroup::Separator.contains(category) {
            return Err(refused(c, "white space other than U+0020"));
        }
        if category == GeneralCategory::Unassigned {
            return Err(refused(c, "which is not assigned"));
        }
        if GeneralCategoryGroup::Other.contains(category) {
            return Err(refused(c, "which is not a graphic character"));
        }
    }
    Ok(())
}

/// Rejects line and paragraph separators, which are not control characters.
pub(super) fn refuse_line_separators(text: &str) -> Result<(), InvalidValue> {
    let is_separator = |c: &char| matches!(c, '\u{2028}' | '\u{2029}');
    let found = text.chars().find(is_separator);
    found.map_or(Ok(()), |c| Err(refused(c, "which ends a line")))
}

/// Rejects characters that change the direction of the text around them.
pub(super) fn refuse_explicit_direction(text: &str) -> Result<(), InvalidValue> {
    let found = text.chars().find(|c| is_explicit_direction(*c));
    let why = "which changes the direction of the text around it";
    found.map_or(Ok(()), |c| Err(refused(c, why)))
}

/// Rejects a text without a visible character: a letter, number, punctuation mark or symbol. Marks
/// and joiners need one of those as a base.
pub(super) fn require_visible(text: &str) -> Result<(), InvalidValue> {
    let graphic = GeneralCategoryGroup::Letter
        .union(GeneralCategoryGroup::Number)
        .union(GeneralCategoryGroup::Punctuation)
        .union(GeneralCategoryGroup::Symbol);
    let is_visible = |c: char| {
        c.is_ascii_graphic() || graphic.contains(category(c)) && !is_ignorable(c) && !is_blank(c)
    };
    if text.is_empty() || text.chars().any(is_visible) {
        return Ok(());
    }
    Err(InvalidValue::new("must contain a visible character"))
}
