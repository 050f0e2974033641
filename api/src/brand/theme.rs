//! The theme file, in TOML: the name, the pictures, the colors, the languages and the texts of a
//! shop.
//!
//! Promise: a theme loads as a whole or not at all, and a fault is one line that names the key. An
//! unknown key is a fault, with the nearest known one. Limit: it is read once, at the start.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::{fmt, fs};

use chrono_tz::Tz;
use domain::values::require_visible_characters;
use serde::Deserialize;

use super::colors::{COLORS, Palette, Scheme};
use super::pictures::{Picture, Purpose};
use super::texts::{Language, Message, SHIPPED, nearest};
use crate::base_path::BasePath;
use crate::urls;

/// The largest theme file and catalogue, in bytes.
const MAX_BYTES: u64 = 256 * 1024;
/// The longest name of a shop, in characters.
const MAX_NAME: usize = 60;
/// The longest text of the footer and of a link, in characters.
const MAX_TEXT: usize = 300;
/// The most links in the footer.
const MAX_LINKS: usize = 12;
/// The most languages that a shop adds.
const MAX_LANGUAGES: usize = 20;

/// Why a theme does not load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("theme {}: {fault}", path.display())]
pub struct ThemeError {
    pub path: PathBuf,
    /// One line that begins with the key.
    pub fault: String,
}

/// A text for all languages, or one for each.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Localized {
    One(String),
    Each(BTreeMap<String, String>),
}

impl Default for Localized {
    fn default() -> Self {
        Self::One(String::new())
    }
}

impl Localized {
    /// Returns the text in a language, or else in the first that it has of `others`.
    pub(super) fn of<'a>(&'a self, tag: &str, others: &[&str]) -> &'a str {
        match self {
            Self::One(text) => text,
            Self::Each(texts) => {
                let tags = std::iter::once(&tag).chain(others);
                let found = tags.filter_map(|tag| texts.get(*tag)).next();
                found
                    .or_else(|| texts.values().next())
                    .map_or("", String::as_str)
            }
        }
    }

    fn all(&self) -> Vec<&str> {
        match self {
            Self::One(text) => vec![text],
            Self::Each(texts) => texts.values().map(String::as_str).collect(),
        }
    }
}

/// A link of the footer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Link {
    pub(super) text: Localized,
    pub(super) href: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Footer {
    pub(super) text: Localized,
    pub(super) links: Vec<Link>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct ChosenColors {
    light: BTreeMap<String, String>,
    dark: BTreeMap<String, String>,
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    name: Option<String>,
    logo: Option<String>,
    favicon: Option<String>,
    image: Option<String>,
    public_url: Option<String>,
    locale: Option<String>,
    locales: Option<Vec<String>>,
    time_zone: Option<String>,
    locale_files: BTreeMap<String, String>,
    colors: ChosenColors,
    footer: Footer,
    texts: BTreeMap<String, BTreeMap<String, Message>>,
}

/// The keys of the file, by table; `""` is the top level. Tables with names of the shop's own
/// choice are checked elsewhere.
const KEYS: [(&str, &[&str]); 3] = [
    (
        "",
        &[
            "name",
            "logo",
            "favicon",
            "image",
            "public_url",
            "locale",
            "locales",
            "time_zone",
            "locale_files",
            "colors",
            "footer",
            "texts",
        ],
    ),
    ("colors", &["light", "dark"]),
    ("footer", &["text", "links"]),
];

/// A theme that has loaded.
#[derive(Debug, Clone)]
pub(super) struct Theme {
    pub(super) name: String,
    pub(super) logo: Option<Picture>,
    pub(super) favicon: Option<Picture>,
    pub(super) image: Option<Picture>,
    pub(super) public_url: Option<PublicUrl>,
    /// The language of every page, unless the reader chooses another.
    pub(super) locale: Option<String>,
    /// By tag, in the sequence in which a reader may choose.
    pub(super) languages: Vec<Language>,
    pub(super) time_zone: Option<Tz>,
    pub(super) light: Palette,
    pub(super) dark: Palette,
    pub(super) footer: Footer,
}

/// The address of the shop for its readers: an origin, and the path of the shop, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    path: BasePath,
}

impl PublicUrl {
    /// Parses an http or https URL without a query and fragment. A slash at its end means nothing.
    ///
    /// # Errors
    /// The rule that the text breaks, which begins with "must".
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = urls::parse(text, urls::Purpose::Endpoint).map_err(|fault| fault.into_owned())?;
        if url.query().is_some() {
            return Err("must not have a query".to_owned());
        }
        // As it was written: the parser has resolved segments of dots.
        let (_, rest) = text.split_once("://").unwrap_or_default();
        let path = rest.find('/').map_or("", |start| &rest[start..]);
        let path = match path.strip_suffix('/').unwrap_or(path) {
            "" => BasePath::default(),
            path => path
                .parse()
                .map_err(|fault| format!("has the path {path}, which {fault}"))?,
        };
        let origin = url.origin().ascii_serialization();
        Ok(Self { origin, path })
    }

    /// Returns the origin, as browsers write it.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the path of the shop; empty at the root of its host.
    #[must_use]
    pub const fn path(&self) -> &BasePath {
        &self.path
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path.as_str())
    }
}

impl std::str::FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Theme {
    /// The theme of a shop without a file.
    pub(super) fn standard() -> Self {
        Self::build(File::default(), Path::new("")).expect("a test builds the standard theme")
    }

    /// Reads a theme, and the files that it names.
    ///
    /// # Errors
    /// [`ThemeError`] with the first fault.
    pub(super) fn read(path: &Path) -> Result<Self, ThemeError> {
        let fail = |fault| ThemeError {
            path: path.to_owned(),
            fault,
        };
        let text = bounded(path).map_err(fail)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, directory).map_err(fail)
    }

    /// Parses a theme whose files are in `directory`.
    pub(super) fn parse(text: &str, directory: &Path) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error| syntax(text, &error))?;
        check_keys(&table)?;
        // Unknown keys were rejected, and the parser names the line of a wrong type.
        let file = toml::from_str(text).map_err(|error| syntax(text, &error))?;
        Self::build(file, directory)
    }

    fn build(file: File, directory: &Path) -> Result<Self, String> {
        let name = file.name.unwrap_or_else(|| "Holdfast".to_owned());
        let name = line("name", &name, MAX_NAME)?;
        if name.is_empty() {
            return Err(format!("name: must have 1 to {MAX_NAME} characters"));
        }
        let picture = |key: &str, named: &Option<String>, purpose| {
            let read = |named| {
                let path = inside(directory, named)?;
                Picture::read(&path, purpose)
            };
            let read = named.as_deref().map(read).transpose();
            read.map_err(|fault: String| format!("{key}: {fault}"))
        };
        let public_url = file.public_url.as_deref().map(PublicUrl::parse).transpose();
        let time_zone = file.time_zone.as_deref().map(zone).transpose()?;
        let mut languages = languages(&file.locale_files, directory)?;
        replace_texts(&mut languages, file.texts)?;
        let known: Vec<String> = languages.iter().map(|one| one.tag.clone()).collect();
        let check = |key: &str, tag: &str| match known.iter().any(|known| known == tag) {
            true => Ok(()),
            false => Err(format!(
                "{key}: {tag} has no catalogue; there are {}. [locale_files] adds one",
                known.join(", ")
            )),
        };
        if let Some(locale) = &file.locale {
            check("locale", locale)?;
        }
        if let Some(offered) = &file.locales {
            offered.iter().try_for_each(|tag| check("locales", tag))?;
            if file
                .locale
                .as_ref()
                .is_some_and(|locale| !offered.contains(locale))
            {
                return Err("locale: must be one of locales".to_owned());
            }
            if offered.is_empty() {
                return Err("locales: must have at least one language".to_owned());
            }
            let position = |one: &Language| offered.iter().position(|tag| *tag == one.tag);
            languages.retain(|one| position(one).is_some());
            languages.sort_by_key(position);
        }
        check_footer(&file.footer, &known)?;
        Ok(Self {
            name,
            logo: picture("logo", &file.logo, Purpose::Logo)?,
            favicon: picture("favicon", &file.favicon, Purpose::Favicon)?,
            image: picture("image", &file.image, Purpose::Share)?,
            public_url: public_url.map_err(|fault| format!("public_url: {fault}"))?,
            locale: file.locale,
            languages,
            time_zone,
            light: Palette::new(Scheme::Light, &file.colors.light)?,
            dark: Palette::new(Scheme::Dark, &file.colors.dark)?,
            footer: file.footer,
        })
    }
}

/// Returns the message of a parser in one line, with the line of the file.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or_default();
            let number = before.matches('\n').count() + 1;
            format!("line {number}: {message}")
        }
        None => message,
    }
}

fn check_keys(table: &toml::Table) -> Result<(), String> {
    for (section, known) in KEYS {
        let members = match section {
            "" => Some(table),
            section => table.get(section).and_then(toml::Value::as_table),
        };
        for key in members.into_iter().flat_map(toml::Table::keys) {
            if !known.contains(&key.as_str()) {
                let dot = if section.is_empty() { "" } else { "." };
                let hint = nearest(key, known.iter().copied());
                return Err(format!("{section}{dot}{key}: unknown key{hint}"));
            }
        }
    }
    let links = table.get("footer").and_then(|footer| footer.get("links"));
    for link in links.and_then(toml::Value::as_array).into_iter().flatten() {
        let known = ["text", "href"];
        let mut members = link.as_table().into_iter().flat_map(toml::Table::keys);
        if let Some(key) = members.find(|key| !known.contains(&key.as_str())) {
            let hint = nearest(key, known.into_iter());
            return Err(format!("footer.links.{key}: unknown key{hint}"));
        }
    }
    Ok(())
}

/// Reads a text file of bounded size.
fn bounded(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if size.len() > MAX_BYTES {
        return Err(format!("must have at most {MAX_BYTES} bytes"));
    }
    fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

/// Returns the path of a file that the theme names: in its directory, or below it.
fn inside(directory: &Path, named: &str) -> Result<PathBuf, String> {
    let path = Path::new(named);
    let mut parts = path.components();
    match !named.is_empty() && parts.all(|part| matches!(part, Component::Normal(_))) {
        true => Ok(directory.join(path)),
        false => Err("must be a file next to the theme, without .. in its path".to_owned()),
    }
}

/// Checks a text of one line.
fn line(key: &str, text: &str, most: usize) -> Result<String, String> {
    let text = text.trim();
    require_visible_characters(text).map_err(|fault| format!("{key}: {fault}"))?;
    match text.chars().count() > most {
        true => Err(format!("{key}: must have at most {most} characters")),
        false => Ok(text.to_owned()),
    }
}

fn zone(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| {
        let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
        format!(
            "time_zone: {name} is not a zone of the IANA database{}",
            nearest(name, names)
        )
    })
}

/// Returns the languages of the program and those of the theme.
fn languages(files: &BTreeMap<String, String>, directory: &Path) -> Result<Vec<Language>, String> {
    let mut all: Vec<Language> = SHIPPED.into_iter().map(Language::shipped).collect();
    if files.len() > MAX_LANGUAGES {
        return Err(format!(
            "locale_files: must have at most {MAX_LANGUAGES} languages"
        ));
    }
    for (tag, named) in files {
        let fail = |fault: String| format!("locale_files.{tag}: {fault}");
        if !is_tag(tag) {
            return Err(fail(
                "must be a language tag such as fr or pt-BR".to_owned(),
            ));
        }
        let path = inside(directory, named).map_err(fail)?;
        let source = bounded(&path).map_err(|fault| fail(format!("{named} {fault}")))?;
        let language = Language::read(tag, &source).map_err(fail)?;
        all.retain(|known| known.tag != *tag);
        all.push(language);
    }
    Ok(all)
}

/// Returns whether a text has the form of a language tag: letters, then letters and digits.
pub(crate) fn is_tag(text: &str) -> bool {
    let mut parts = text.split('-');
    let language = parts.next().unwrap_or_default();
    let is_language = (2..=3).contains(&language.len());
    is_language
        && language.bytes().all(|byte| byte.is_ascii_lowercase())
        && text.len() <= 20
        && parts.all(|part| {
            (2..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

fn replace_texts(
    languages: &mut [Language],
    texts: BTreeMap<String, BTreeMap<String, Message>>,
) -> Result<(), String> {
    for (tag, messages) in texts {
        let Some(language) = languages.iter_mut().find(|one| one.tag == tag) else {
            return Err(format!("texts.{tag}: no language has this tag"));
        };
        for (key, message) in messages {
            let replaced = language.replace(&key, message);
            replaced.map_err(|fault| format!("texts.{tag}: {fault}"))?;
        }
    }
    Ok(())
}

fn check_footer(footer: &Footer, known: &[String]) -> Result<(), String> {
    let check = |key: &str, text: &Localized, is_needed: bool| {
        if let Localized::Each(texts) = text
            && let Some(tag) = texts.keys().find(|tag| !known.contains(tag))
        {
            return Err(format!("{key}.{tag}: no language has this tag"));
        }
        for text in text.all() {
            if line(key, text, MAX_TEXT)?.is_empty() && is_needed {
                return Err(format!("{key}: must have 1 to {MAX_TEXT} characters"));
            }
        }
        Ok(())
    };
    check("footer.text", &footer.text, false)?;
    if footer.links.len() > MAX_LINKS {
        return Err(format!("footer.links: must have at most {MAX_LINKS} links"));
    }
    for (index, Link { text, href }) in footer.links.iter().enumerate() {
        let key = format!("footer.links[{index}]");
        check(&format!("{key}.text"), text, true)?;
        check_href(href).map_err(|fault| format!("{key}.href: {fault}"))?;
    }
    Ok(())
}

/// Checks the address of a link: a path on this server, a web page, or an address of mail.
fn check_href(href: &str) -> Result<(), String> {
    if let Some(address) = href.strip_prefix("mailto:") {
        let is_address = matches!(address.split_once('@'), Some((name, host)) if !name.is_empty() && host.contains('.'));
        let is_plain = address
            .chars()
            .all(|c| !c.is_whitespace() && !"<>\"'\\".contains(c));
        return match is_address && is_plain {
            true => Ok(()),
            false => Err("must be mailto: and an e-mail address".to_owned()),
        };
    }
    let parsed = urls::parse(href, urls::Purpose::Picture);
    match parsed {
        Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(()),
        Ok(_) => Err("must be an http or https URL, a path, or mailto:".to_owned()),
        Err(fault) if fault == urls::Purpose::Picture.rule() => {
            Err("must be an http or https URL, a path, or mailto:".to_owned())
        }
        Err(fault) => Err(fault.into_owned()),
    }
}

/// Returns a theme file with every key. It loads, and equals a shop without a theme.
pub fn example() -> String {
    let mut text = String::from(include_str!("example.toml"));
    let end = text.find("[footer]").unwrap_or(text.len());
    let mut colors = String::new();
    for scheme in [Scheme::Light, Scheme::Dark] {
        colors += &format!("[colors.{}]\n", scheme.name());
        for (name, light, dark, purpose) in COLORS {
            let value = if scheme == Scheme::Light { light } else { dark };
            colors += &format!("{name} = \"{value}\"  # {purpose}\n");
        }
        colors.push('\n');
    }
    text.insert_str(end, &colors);
    text
}
