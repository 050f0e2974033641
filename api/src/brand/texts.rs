//! The catalogues of texts, one for each language: `web/texts/TAG.json`, and files of the shop.
//!
//! Promise: a catalogue that loads has only keys and placeholders that the pages use; a key that a
//! shop's own catalogue lacks has the English text. Limit: only the scripts of the pages choose a
//! plural form, because the rules of plurals are those of the browser (`Intl.PluralRules`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::figures::Format;
use crate::web_files::embedded;

/// The languages of the program, the default first.
pub(crate) const SHIPPED: [&str; 3] = ["en", "de", "he"];
/// The member of a catalogue that describes its language.
const DESCRIPTION: &str = "@language";
/// The longest text, in characters.
const MAX_CHARS: usize = 1_000;

/// The direction of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Ltr,
    Rtl,
}

impl Direction {
    /// The value of the attribute `dir`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ltr => "ltr",
            Self::Rtl => "rtl",
        }
    }
}

/// The description of a language in its catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The name of the language in itself.
    pub name: String,
    pub direction: Direction,
    /// The BCP 47 tag with which browsers format numbers and money.
    pub numbers: String,
    /// The BCP 47 tag with which browsers format times.
    pub dates: String,
    #[serde(flatten)]
    pub format: Format,
}

/// The categories of plurals in CLDR.
const CATEGORIES: [&str; 6] = ["zero", "one", "two", "few", "many", "other"];

/// One text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Message {
    Plain(String),
    /// Forms by category of `count`; `type` may be `ordinal`.
    Plural(BTreeMap<String, String>),
}

impl Message {
    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Plain(text) => vec![text],
            Self::Plural(forms) => {
                let forms = forms.iter().filter(|(name, _)| *name != "type");
                forms.map(|(_, text)| text.as_str()).collect()
            }
        }
    }

    /// Returns the names in braces.
    fn placeholders(&self) -> BTreeSet<&str> {
        let texts = self.texts().into_iter();
        texts.flat_map(placeholders).collect()
    }

    /// Checks the form of the text, and that it has no placeholder that `original` lacks.
    fn check(&self, key: &str, original: &Self) -> Result<(), String> {
        if let Self::Plural(forms) = self {
            let is_known = |name: &str| CATEGORIES.contains(&name) || name == "type";
            if let Some(name) = forms.keys().find(|name| !is_known(name)) {
                let all = CATEGORIES.join(", ");
                return Err(format!(
                    "{key}: {name} is no category of plurals; they are {all}"
                ));
            }
            if !forms.contains_key("other") {
                return Err(format!("{key}: the form \"other\" is missing"));
            }
        }
        if self
            .texts()
            .iter()
            .any(|text| text.chars().count() > MAX_CHARS)
        {
            return Err(format!("{key}: must have at most {MAX_CHARS} characters"));
        }
        let permitted = original.placeholders();
        let unknown = self
            .placeholders()
            .into_iter()
            .find(|name| !permitted.contains(name));
        match unknown {
            Some(name) if permitted.is_empty() => Err(format!(
                "{key}: has no placeholder, so {{{name}}} is unknown"
            )),
            Some(name) => {
                let known: Vec<String> =
                    permitted.iter().map(|name| format!("{{{name}}}")).collect();
                let known = known.join(", ");
                Err(format!(
                    "{key}: the placeholder {{{name}}} is unknown; it has {known}"
                ))
            }
            None => Ok(()),
        }
    }
}

/// Returns the names in braces of a text.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split('{').skip(1);
    parts.filter_map(|part| part.split_once('}').map(|(name, _)| name))
}

/// The texts of one language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Language {
    /// The BCP 47 tag.
    pub tag: String,
    pub about: About,
    pub messages: BTreeMap<String, Message>,
}

/// English: the texts that every other catalogue translates.
static ENGLISH: LazyLock<Language> = LazyLock::new(|| {
    let source = embedded("texts/en.json").expect("the catalogue is embedded");
    Language::unchecked("en", &source).expect("a test reads the catalogue")
});

impl Language {
    fn unchecked(tag: &str, source: &str) -> Result<Self, String> {
        let mut members: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(source).map_err(|error| format!("is not valid: {error}"))?;
        let about = members
            .remove(DESCRIPTION)
            .ok_or_else(|| format!("{DESCRIPTION} is missing"))?;
        let about = serde_json::from_value(about)
            .map_err(|error| format!("{DESCRIPTION} is not valid: {error}"))?;
        let message = |(key, value)| match serde_json::from_value(value) {
            Ok(message) => Ok((key, message)),
            Err(_) => Err(format!("{key}: must be a text, or its forms by category")),
        };
        let messages = members.into_iter().map(message).collect::<Result<_, _>>()?;
        Ok(Self {
            tag: tag.to_owned(),
            about,
            messages,
        })
    }

    /// Reads the catalogue of a language.
    ///
    /// # Errors
    /// The fault, with the key.
    pub(crate) fn read(tag: &str, source: &str) -> Result<Self, String> {
        let mut language = Self::unchecked(tag, source)?;
        language.about.format.check()?;
        for (key, message) in &language.messages {
            message.check(key, original(key)?)?;
        }
        for (key, message) in &ENGLISH.messages {
            let missing = || message.clone();
            language.messages.entry(key.clone()).or_insert_with(missing);
        }
        Ok(language)
    }

    /// Returns a language of the program.
    pub(crate) fn shipped(tag: &str) -> Self {
        let source = embedded(&format!("texts/{tag}.json")).expect("the catalogue is embedded");
        Self::read(tag, &source).expect("a test reads each catalogue")
    }

    /// Replaces one text.
    ///
    /// # Errors
    /// The key or the placeholder that does not exist.
    pub(crate) fn replace(&mut self, key: &str, message: Message) -> Result<(), String> {
        message.check(key, original(key)?)?;
        self.messages.insert(key.to_owned(), message);
        Ok(())
    }

    /// Returns a text without plural forms; the key itself if there is none.
    pub(crate) fn text<'a>(&'a self, key: &'a str) -> &'a str {
        match self.messages.get(key) {
            Some(Message::Plain(text)) => text,
            Some(Message::Plural(forms)) => forms.get("other").map_or(key, String::as_str),
            None => key,
        }
    }

    /// Returns a text with its placeholders filled.
    pub(crate) fn fill(&self, key: &str, values: &[(&str, &str)]) -> String {
        let mut text = self.text(key).to_owned();
        for (name, value) in values {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }

    /// Returns the catalogue as the module that the pages import.
    pub(crate) fn module(&self) -> String {
        let data = serde_json::json!({
            "tag": self.tag, "direction": self.about.direction, "numbers": self.about.numbers,
            "dates": self.about.dates, "messages": self.messages,
        });
        format!("export default {data};\n")
    }
}

/// No language of the program has this tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the program has no language {0}; it has en, de and he")]
pub struct UnknownLanguage(String);

/// Returns the catalogue of a language of the program, as its file is written.
///
/// # Errors
/// [`UnknownLanguage`].
pub fn catalogue(tag: &str) -> Result<String, UnknownLanguage> {
    let shipped = SHIPPED
        .contains(&tag)
        .then(|| embedded(&format!("texts/{tag}.json")));
    shipped
        .flatten()
        .ok_or_else(|| UnknownLanguage(tag.to_owned()))
}

/// Returns the English text of a key.
fn original(key: &str) -> Result<&'static Message, String> {
    ENGLISH.messages.get(key).ok_or_else(|| {
        let keys = ENGLISH.messages.keys().map(String::as_str);
        format!("{key}: no text has this key{}", nearest(key, keys))
    })
}

/// Returns the words that suggest the most similar name, or nothing.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let ranked = known.map(|known| (strsim::jaro_winkler(name, known), known));
    let best = ranked.max_by(|(one, _), (other, _)| one.total_cmp(other));
    match best {
        Some((rank, known)) if rank > 0.6 => format!("; did you mean {known}?"),
        Some(_) | None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_language_has_every_text_with_its_placeholders() {
        for tag in SHIPPED {
            let source = embedded(&format!("texts/{tag}.json")).unwrap();
            let own = Language::unchecked(tag, &source).unwrap();
            let keys =
                |language: &Language| language.messages.keys().cloned().collect::<BTreeSet<_>>();
            let (own_keys, all) = (keys(&own), keys(&ENGLISH));
            let missing: Vec<_> = all.difference(&own_keys).collect();
            assert!(
                missing.is_empty(),
                "add to web/texts/{tag}.json: {missing:?}"
            );
            Language::read(tag, &source).unwrap();
            for (key, message) in &own.messages {
                let original = &ENGLISH.messages[key];
                let mut wanted = original.placeholders();
                let mut has = message.placeholders();
                // "One unit" need not have its number; every other placeholder is needed.
                wanted.remove("count");
                has.remove("count");
                assert_eq!(has, wanted, "{tag}: {key}");
                let is_plural = |message: &Message| matches!(message, Message::Plural(forms) if !forms.contains_key("type"));
                assert_eq!(is_plural(message), is_plural(original), "{tag}: {key}");
            }
        }
    }

    #[test]
    fn forms_of_plurals_are_those_of_the_language() {
        // As `Intl.PluralRules` names them; a test in a browser compares.
        for (tag, categories) in [
            ("en", vec!["one", "other"]),
            ("de", vec!["one", "other"]),
            ("he", vec!["one", "other", "two"]),
        ] {
            for (key, message) in Language::shipped(tag).messages {
                if let Message::Plural(forms) = message
                    && !forms.contains_key("type")
                {
                    assert!(
                        forms.keys().eq(categories.iter()),
                        "{tag}: {key}: {forms:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn fault_in_a_catalogue_is_named() {
        let about = serde_json::to_string(&ENGLISH.about).unwrap();
        for (members, fault) in [
            (
                "\"cart.titel\":\"x\"",
                "cart.titel: no text has this key; did you mean cart.title?",
            ),
            (
                "\"cart.title\":\"{x}\"",
                "cart.title: has no placeholder, so {x} is unknown",
            ),
            (
                "\"unit.count\":{\"one\":\"1\"}",
                "unit.count: the form \"other\" is missing",
            ),
            (
                "\"unit.count\":{\"any\":\"1\",\"other\":\"\"}",
                "unit.count: any is no category of plurals; they are zero, one, two, few, many, other",
            ),
            (
                "\"cart.title\":7",
                "cart.title: must be a text, or its forms by category",
            ),
        ] {
            let source = format!("{{\"@language\":{about},{members}}}");
            assert_eq!(Language::read("xx", &source).unwrap_err(), fault);
        }
        let partial = format!("{{\"@language\":{about},\"cart.title\":\"Panier\"}}");
        let french = Language::read("fr", &partial).unwrap();
        assert_eq!(french.text("cart.title"), "Panier");
        assert_eq!(french.text("nav.cart"), ENGLISH.text("nav.cart"));
        assert_eq!(
            Language::read("fr", "{}").unwrap_err(),
            "@language is missing"
        );
    }
}
