//! The language of one request: the reader's choice (`?lang=`, then the cookie that keeps it), the
//! locale of the theme, the browser's `Accept-Language`, and English, in this sequence.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use crate::app::App;
use crate::base_path::of_cookies;
use crate::brand::{Brand, Language, is_tag};
use crate::render::insert;

/// The cookie that keeps a choice. It is no personal data: it has the tag of a language.
const COOKIE: &str = "holdfast_lang";
/// How long a choice is kept: a year, in seconds.
const KEPT_SECONDS: u32 = 31_536_000;
/// The most entries of `Accept-Language` that are read.
const MOST_RANGES: usize = 20;

/// The reader of a page.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    /// The tag of a language of the brand.
    tag: String,
    /// True if this request chose the language.
    is_choice: bool,
}

impl FromRequestParts<App> for Reader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(Self::of(&app.brand, parts.uri.query(), &parts.headers))
    }
}

impl Reader {
    pub(crate) fn of(brand: &Brand, query: Option<&str>, headers: &HeaderMap) -> Self {
        let choice = query.and_then(chosen).and_then(|tag| brand.language(&tag));
        if let Some(language) = choice {
            return Self {
                tag: language.tag.clone(),
                is_choice: true,
            };
        }
        let kept = kept(headers).and_then(|tag| brand.language(tag));
        let of_theme = || brand.locale();
        let language = kept.or_else(of_theme).or_else(|| accepted(brand, headers));
        let language = language.unwrap_or_else(|| brand.default_language());
        Self {
            tag: language.tag.clone(),
            is_choice: false,
        }
    }

    pub(crate) fn language<'a>(&self, brand: &'a Brand) -> &'a Language {
        brand
            .language(&self.tag)
            .unwrap_or_else(|| brand.default_language())
    }

    /// Marks a response as one in this language, and keeps the choice.
    pub(crate) fn mark(&self, mut response: Response) -> Response {
        insert(&mut response, header::CONTENT_LANGUAGE, &self.tag);
        let vary = HeaderValue::from_static("Accept-Language, Cookie");
        response.headers_mut().insert(header::VARY, vary);
        if self.is_choice {
            let cookie = format!(
                "{COOKIE}={}; Path={}; Max-Age={KEPT_SECONDS}; SameSite=Lax; HttpOnly",
                self.tag,
                of_cookies()
            );
            insert(&mut response, header::SET_COOKIE, &cookie);
        }
        response
    }
}

/// Returns the tag in a query.
fn chosen(query: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let (_, tag) = pairs.find(|(name, _)| name == "lang")?;
    Some(tag.into_owned())
}

/// Returns the tag in the cookie.
fn kept(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).into_iter();
    let pairs = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    let mut tags = pairs.filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    tags.find(|tag| is_tag(tag))
}

/// Returns the language of the brand that the browser prefers (RFC 9110, section 12.5.4): the one
/// with the highest quality, then the first.
fn accepted<'a>(brand: &'a Brand, headers: &HeaderMap) -> Option<&'a Language> {
    let values = headers.get_all(header::ACCEPT_LANGUAGE).into_iter();
    let ranges = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .take(MOST_RANGES);
    let mut best: Option<(f32, &Language)> = None;
    for range in ranges {
        let (tag, weight) = range.split_once(';').unwrap_or((range, ""));
        let quality = weight
            .trim()
            .strip_prefix("q=")
            .map_or(Some(1.0), |q| q.parse().ok());
        let quality = quality.filter(|quality: &f32| *quality > 0.0 && *quality <= 1.0);
        let language = match tag.trim() {
            "*" => Some(brand.default_language()),
            tag => brand.language(tag),
        };
        if let (Some(quality), Some(language)) = (quality, language)
            && best.is_none_or(|(least, _)| quality > least)
        {
            best = Some((quality, language));
        }
    }
    best.map(|(_, language)| language)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(brand: &Brand, query: Option<&str>, accept: &str, cookie: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::ACCEPT_LANGUAGE,
            HeaderValue::from_str(accept).unwrap(),
        );
        headers.insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
        Reader::of(brand, query, &headers).tag
    }

    #[test]
    fn choice_precedes_the_cookie_the_theme_and_the_browser() {
        let plain = Brand::default();
        let german = Brand::parse("locale = \"de\"").unwrap();
        for (query, cookie, accept, of_plain, of_german) in [
            (None, "", "", "en", "de"),
            (None, "", "he", "he", "de"),
            (None, "a=b; holdfast_lang=he", "en", "he", "he"),
            (Some("lang=en"), "holdfast_lang=he", "de", "en", "en"),
            (Some("utm=1&lang=he"), "", "de", "he", "he"),
            (Some("lang=xx"), "holdfast_lang=<b>", "de", "de", "de"),
        ] {
            assert_eq!(read(&plain, query, accept, cookie), of_plain);
            assert_eq!(read(&german, query, accept, cookie), of_german);
        }
    }

    #[test]
    fn browser_gets_the_language_of_the_highest_quality() {
        let brand = Brand::default();
        for (accept, tag) in [
            ("de-CH, en;q=0.9", "de"),
            ("fr, he-IL;q=0.8, en;q=0.7", "he"),
            ("en;q=0.1, de;q=0.2", "de"),
            ("en;q=0.5, de;q=0.5", "en"),
            ("de;q=0", "en"),
            ("de;q=x, he;q=2", "en"),
            ("fr, *;q=0.1", "en"),
            ("DE", "de"),
            (", ;;, 😀", "en"),
        ] {
            let mut headers = HeaderMap::new();
            if let Ok(accept) = HeaderValue::from_str(accept) {
                headers.insert(header::ACCEPT_LANGUAGE, accept);
            }
            assert_eq!(Reader::of(&brand, None, &headers).tag, tag, "{accept}");
        }
    }
}
