//! The brand of the shop: its name, pictures, colors, languages and addresses, from a theme file.
//!
//! Promise: a server without a theme has the standard one; a theme with a fault stops the start.
//! Pages of the shop are in the language of the reader's choice, of the theme, or of the browser,
//! in this sequence.
//!
//! Source: docs/decisions/0080-a-shop-is-branded-by-a-theme-file.md.

mod colors;
pub(crate) mod figures;
mod pictures;
pub(crate) mod texts;
mod theme;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use axum::http::{HeaderMap, header};
use chrono_tz::Tz;
use minijinja::{Value, context};

pub(crate) use self::pictures::Picture;
pub(crate) use self::texts::Language;
pub use self::texts::catalogue;
use self::theme::Theme;
pub(crate) use self::theme::is_tag;
pub use self::theme::{PublicUrl, ThemeError, example};
use crate::base_path::{BasePath, at};
use crate::forwarded;
use crate::web_files::Page;

/// The file of a theme in the data directory.
pub const FILE_NAME: &str = "theme.toml";

/// The mark of a shop without a logo.
const MARK: &str = "/assets/mark.svg";

/// The brand of a shop. Clones refer to the same one.
#[derive(Debug, Clone)]
pub struct Brand(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    theme: Theme,
    public_url: Option<PublicUrl>,
    stylesheet: Page,
    /// The catalogues as modules, by tag.
    modules: BTreeMap<String, Page>,
}

/// The brand of a shop without a theme.
static STANDARD: LazyLock<Brand> = LazyLock::new(|| Brand::new(Theme::standard(), None));

impl Default for Brand {
    fn default() -> Self {
        STANDARD.clone()
    }
}

impl Brand {
    fn new(theme: Theme, public_url: Option<PublicUrl>) -> Self {
        let module = |one: &Language| (one.tag.clone(), Page::new(one.module()));
        let mut modules: BTreeMap<_, _> = theme.languages.iter().map(module).collect();
        // The dashboard is in English, also where the shop is not.
        let english = || Page::new(Language::shipped("en").module());
        modules.entry("en".to_owned()).or_insert_with(english);
        Self(Arc::new(Parts {
            stylesheet: Page::new(colors::stylesheet(&theme.light, &theme.dark)),
            modules,
            public_url: public_url.or_else(|| theme.public_url.clone()),
            theme,
        }))
    }

    /// Loads a theme; `public_url` precedes that of the file.
    ///
    /// # Errors
    /// [`ThemeError`] with the first fault.
    pub fn load(path: Option<&Path>, public_url: Option<PublicUrl>) -> Result<Self, ThemeError> {
        match path {
            Some(path) => Ok(Self::new(Theme::read(path)?, public_url)),
            None if public_url.is_some() => Ok(Self::new(Theme::standard(), public_url)),
            None => Ok(Self::default()),
        }
    }

    /// Loads a theme from text, without files.
    ///
    /// # Errors
    /// The first fault.
    #[cfg(test)]
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::new(Theme::parse(text, Path::new(""))?, None))
    }

    /// Describes a theme in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let theme = &self.0.theme;
        let tags: Vec<&str> = theme.languages.iter().map(|one| one.tag.as_str()).collect();
        let locale = theme.locale.as_deref().unwrap_or("the reader's");
        let address = self
            .0
            .public_url
            .as_ref()
            .map_or_else(|| "the request's".to_owned(), PublicUrl::to_string);
        format!(
            "{}: languages {}, default {locale}; address {address}",
            theme.name,
            tags.join(", ")
        )
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.theme.name
    }

    /// The zone in which times are shown; `None` means that of the reader's browser.
    pub(crate) fn time_zone(&self) -> Option<Tz> {
        self.0.theme.time_zone
    }

    pub(crate) fn languages(&self) -> &[Language] {
        &self.0.theme.languages
    }

    /// Returns the language with this tag, or else with the language of this tag.
    pub(crate) fn language(&self, tag: &str) -> Option<&Language> {
        let all = self.languages();
        let exact = all.iter().find(|one| one.tag.eq_ignore_ascii_case(tag));
        let base = tag.split('-').next().unwrap_or(tag);
        exact.or_else(|| all.iter().find(|one| one.tag.eq_ignore_ascii_case(base)))
    }

    /// Returns the language of the theme, if it sets one.
    pub(crate) fn locale(&self) -> Option<&Language> {
        let locale = self.0.theme.locale.as_deref();
        locale.and_then(|tag| self.language(tag))
    }

    /// Returns the language of readers whose choice and browser do not decide.
    pub(crate) fn default_language(&self) -> &Language {
        let first = || self.languages().first();
        let english = || self.language("en");
        self.locale()
            .or_else(english)
            .or_else(first)
            .expect("a theme has a language")
    }

    /// The stylesheet with the colors.
    pub(crate) fn stylesheet(&self) -> &Page {
        &self.0.stylesheet
    }

    /// The module with the texts of a language, or of the nearest one.
    pub(crate) fn module(&self, tag: &str) -> &Page {
        let modules = &self.0.modules;
        let nearest = || {
            self.language(tag)
                .unwrap_or_else(|| self.default_language())
        };
        modules.get(tag).unwrap_or_else(|| &modules[&nearest().tag])
    }

    /// Returns a picture by its name below `/assets/brand/`.
    pub(crate) fn picture(&self, name: &str) -> Option<&Picture> {
        let theme = &self.0.theme;
        let all = [&theme.logo, &theme.favicon, &theme.image];
        all.into_iter()
            .flatten()
            .find(|picture| picture.name == name)
    }

    pub(crate) fn favicon(&self) -> Option<&Picture> {
        self.0.theme.favicon.as_ref()
    }

    /// Returns the path of the configured address of the shop; empty without an address or a path.
    #[must_use]
    pub fn path(&self) -> BasePath {
        let public_url = self.0.public_url.as_ref();
        public_url.map(|url| url.path().clone()).unwrap_or_default()
    }

    /// Returns the configured origin of the shop.
    pub(crate) fn public_origin(&self) -> Option<&str> {
        self.0.public_url.as_ref().map(PublicUrl::origin)
    }

    /// Returns the origin of the shop as its readers see it: the configured one, or that of the
    /// request, which is https if a trusted proxy states it. A forwarded host is not used: a proxy
    /// that does not set it passes on what any client wrote, and caches would keep it.
    pub(crate) fn origin(&self, headers: &HeaderMap) -> String {
        if let Some(origin) = self.public_origin() {
            return origin.to_owned();
        }
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let scheme = match forwarded::is_https(headers) {
            true => "https",
            false => "http",
        };
        host.map_or_else(String::new, |host| format!("{scheme}://{host}"))
    }

    /// Returns the picture for links in social networks, as a path on this host.
    pub(crate) fn share_image(&self) -> Option<String> {
        let theme = &self.0.theme;
        let is_bitmap = |logo: &&Picture| logo.media_type != "image/svg+xml";
        let picture = theme
            .image
            .as_ref()
            .or(theme.logo.as_ref().filter(is_bitmap));
        picture.map(Picture::href)
    }

    /// Returns the values of the frames of the pages.
    pub(crate) fn context(&self, language: &Language) -> Value {
        let theme = &self.0.theme;
        let default = &self.default_language().tag;
        let others = [default.as_str(), "en"];
        let links = theme.footer.links.iter().map(|link| {
            context! { text => link.text.of(&language.tag, &others), href => &link.href }
        });
        let languages = theme.languages.iter().map(|one| {
            let about = &one.about;
            context! { tag => &one.tag, name => &about.name, dir => about.direction.name() }
        });
        let href = |picture: &Option<Picture>| picture.as_ref().map(Picture::href);
        let icon = theme.favicon.as_ref();
        let mark = || at(MARK).into_owned();
        context! {
            name => &theme.name,
            logo => href(&theme.logo).unwrap_or_else(mark),
            has_logo => theme.logo.is_some(),
            favicon => href(&theme.favicon).unwrap_or_else(mark),
            favicon_type => icon.map_or("image/svg+xml", |picture| picture.media_type),
            paper_light => theme.light.text("paper"),
            paper_dark => theme.dark.text("paper"),
            footer => theme.footer.text.of(&language.tag, &others),
            links => links.collect::<Value>(),
            languages => languages.collect::<Value>(),
            has_choice => theme.languages.len() > 1,
            time_zone => theme.time_zone.map(Tz::name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_is_the_standard_theme() {
        let example = Theme::parse(&example(), Path::new("")).unwrap();
        assert_eq!(format!("{example:?}"), format!("{:?}", Theme::standard()));
    }

    #[test]
    fn every_fault_is_one_line_that_names_its_key() {
        for (text, fault) in [
            ("nmae = \"x\"", "nmae: unknown key; did you mean name?"),
            (
                "[colors]\nlihgt = {}",
                "colors.lihgt: unknown key; did you mean light?",
            ),
            (
                "[footer]\nlink = []",
                "footer.link: unknown key; did you mean links?",
            ),
            (
                "[[footer.links]]\ntext = \"a\"\nherf = \"/\"",
                "footer.links.herf: unknown key; did you mean href?",
            ),
            ("name = \"\"", "name: must have 1 to 60 characters"),
            (
                "name = \"a\\u202Eb\"",
                "name: must not contain U+202E, which changes the direction of text",
            ),
            (
                "name = 7",
                "line 1: invalid type: integer `7`, expected a string",
            ),
            (
                "name = \"a\"\nlocale = \"xx\"",
                "locale: xx has no catalogue; there are en, de, he. [locale_files] adds one",
            ),
            (
                "locales = [\"de\"]\nlocale = \"en\"",
                "locale: must be one of locales",
            ),
            ("locales = []", "locales: must have at least one language"),
            (
                "time_zone = \"Europe/Berln\"",
                "time_zone: Europe/Berln is not a zone of the IANA database; did you mean Europe/Berlin?",
            ),
            (
                "logo = \"../a.svg\"",
                "logo: must be a file next to the theme, without .. in its path",
            ),
            (
                "logo = \"/a.svg\"",
                "logo: must be a file next to the theme, without .. in its path",
            ),
            (
                "public_url = \"https://shop.example/?a\"",
                "public_url: must not have a query",
            ),
            (
                "public_url = \"https://shop.example/a/../b\"",
                "public_url: has the path /a/../b, which must not have a segment of dots",
            ),
            (
                "public_url = \"shop.example\"",
                "public_url: must be an http or https URL with a host",
            ),
            (
                "[locale_files]\nFR = \"a.json\"",
                "locale_files.FR: must be a language tag such as fr or pt-BR",
            ),
            (
                "[texts.de]\n\"cart.titel\" = \"x\"",
                "texts.de: cart.titel: no text has this key; did you mean cart.title?",
            ),
            (
                "[texts.fr]\n\"cart.title\" = \"x\"",
                "texts.fr: no language has this tag",
            ),
            (
                "[[footer.links]]\ntext = \"a\"\nhref = \"javascript:alert(1)\"",
                "footer.links[0].href: must be an http or https URL, a path, or mailto:",
            ),
            (
                "[[footer.links]]\ntext = \"a\"\nhref = \"mailto:a b@c.example\"",
                "footer.links[0].href: must be mailto: and an e-mail address",
            ),
            (
                "[[footer.links]]\ntext = \"a\"\nhref = \"data:image/png,x\"",
                "footer.links[0].href: must be an http or https URL, a path, or mailto:",
            ),
            (
                "[[footer.links]]\ntext = \"\"\nhref = \"/\"",
                "footer.links[0].text: must have 1 to 300 characters",
            ),
            (
                "[footer]\ntext = { fr = \"a\" }",
                "footer.text.fr: no language has this tag",
            ),
        ] {
            let found = Theme::parse(text, Path::new("")).unwrap_err();
            assert_eq!(found, fault, "{text}");
        }
        let found = Theme::parse("name = \"a\nb\"", Path::new("")).unwrap_err();
        assert!(
            found.starts_with("line 2: ") && !found.contains('\n'),
            "{found}"
        );
    }
}
