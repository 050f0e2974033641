//! The pages, rendered from their templates. `web/frames/` has the parts that several pages share:
//! the head, the header, and the navigation.
//!
//! Promise: an error in a template stops the server at its start.
//! Limit: pages are rendered once, so a server must start again to show a change of a page.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use domain::values::Currency;
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, Value, context};
use sha2::{Digest, Sha256};

use super::preloads::preloads;
use super::{Files, shop};
use crate::problem::Code;

/// The directories of templates that are not pages: the frames, the templates of the API reference,
/// which [`crate::openapi`] renders with the document, and the page of [`crate::demo_sign_in`],
/// which only the demo has.
const PARTS: [&str; 3] = ["demo/", "frames/", "reference/"];

/// Returns whether the file is a template that is not a page. Such files are not served.
pub(super) fn is_part(name: &str) -> bool {
    PARTS.iter().any(|directory| name.starts_with(directory))
}

/// A page, or another text that is made once.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) text: String,
    /// The digest: the same bytes have the same tag in every process.
    pub(super) etag: String,
}

impl Page {
    pub(crate) fn new(text: String) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        let etag = format!("\"{}\"", hex::encode(&digest[..16]));
        Self { text, etag }
    }
}

/// Every page, by the name of its file.
pub(super) static PAGES: LazyLock<BTreeMap<String, Page>> =
    LazyLock::new(|| render(&sources()).expect("the templates are valid: a test renders each"));

/// The environment of the API reference: its templates, and the frames that they extend. Unlike
/// those of the pages, their values are texts for people, so every value is escaped.
///
/// # Errors
/// If a template is not valid.
pub(crate) fn parts() -> Result<Environment<'static>, Error> {
    static SOURCES: LazyLock<BTreeMap<String, String>> = LazyLock::new(sources);
    let mut templates = environment()?;
    // Templates keep the setting of the moment at which they are added.
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    for (name, source) in SOURCES.iter().filter(|(name, _)| is_part(name)) {
        templates.add_template(name, source)?;
    }
    Ok(templates)
}

/// Returns the templates and their names.
fn sources() -> BTreeMap<String, String> {
    let names = Files::iter().filter(|name| name.ends_with(".html"));
    names
        .filter_map(|name| Some((name.to_string(), text(&name)?)))
        .collect()
}

/// Returns an embedded file.
pub(super) fn text(name: &str) -> Option<String> {
    String::from_utf8(Files::get(name)?.data.into_owned()).ok()
}

/// Returns an environment without templates.
fn environment<'source>() -> Result<Environment<'source>, Error> {
    let mut templates = Environment::empty();
    templates.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    templates.set_syntax(syntax.keep_trailing_newline(true).build()?);
    templates.add_function("preloads", preloads);
    Ok(templates)
}

/// Renders the pages.
///
/// Nothing is escaped: the values are names of files, codes of currencies and the constants of
/// problems, and a test checks that these have no markup; the values of [`shop`] are escaped.
fn render(sources: &BTreeMap<String, String>) -> Result<BTreeMap<String, Page>, Error> {
    let mut templates = environment()?;
    let codes = Code::ALL.iter().map(|code| {
        let (name, status, title) = (code.name(), code.status().as_u16(), code.title());
        context! { name, status, title }
    });
    templates.add_global("codes", codes.collect::<Value>());
    templates.add_global("shop", shop::values());
    let currencies = Currency::all().into_iter();
    let currencies = currencies.map(|currency| currency.code().to_owned());
    templates.add_global("currencies", currencies.collect::<Value>());
    for (name, source) in sources {
        templates.add_template(name, source)?;
    }
    let pages = templates.templates();
    let pages = pages.filter(|(name, _)| !is_part(name));
    pages
        .map(|(name, template)| Ok((name.to_owned(), Page::new(template.render(())?))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_whole() {
        assert!(PAGES.len() >= 14, "{:?}", PAGES.keys());
        for (name, Page { text: html, .. }) in &*PAGES {
            assert!(html.starts_with("<!doctype html>\n"), "{name}");
            assert!(html.ends_with("</html>\n"), "{name}");
            for part in ["<title>", "<main", "</main>", "<nav aria-label=\"Main\">"] {
                assert_eq!(html.matches(part).count(), 1, "{name}: {part}");
            }
            let is_static = ["absent.html", "unknown-code.html"].contains(&name.as_str());
            let scripts = html.matches("<script type=\"module\"").count();
            assert_eq!(scripts, usize::from(!is_static), "{name}");
        }
    }

    #[test]
    fn every_block_of_a_page_has_a_place_in_its_frames() {
        let sources = sources();
        let mut blocks = 0;
        for (name, page) in &sources {
            let mut frames = String::new();
            let mut outer = page;
            while let Some(rest) = outer.strip_prefix("{% extends \"") {
                outer = &sources[rest.split('"').next().unwrap()];
                frames.push_str(outer);
            }
            let is_page = !name.starts_with("frames/") && name != "reference/frame.html";
            for rest in page.split("{% block ").skip(1).filter(|_| is_page) {
                let block = rest.split(" %}").next().unwrap();
                let place = format!("{{% block {block} %}}");
                assert!(frames.contains(&place), "{name}: {block}");
                blocks += 1;
            }
        }
        assert!(blocks >= 30, "{blocks}");
    }

    #[test]
    fn error_in_a_template_is_named() {
        for (text, cause) in [
            ("{% block body %}", "unexpected end of input"),
            ("{% extends \"frames/absent.html\" %}", "frames/absent.html"),
            ("{{ absent }}", "undefined"),
            (
                "{% set script = \"pages/absent.js\" %}{{ preloads(script) }}",
                "pages/absent.js",
            ),
        ] {
            let sources = BTreeMap::from([("faulty.html".to_owned(), text.to_owned())]);
            let error = render(&sources).unwrap_err().to_string();
            assert!(error.contains("faulty.html"), "{error}");
            assert!(error.contains(cause), "{error}");
        }
    }

    #[test]
    fn page_marks_itself_in_the_links_of_its_frame_only() {
        let paths = [
            ("cart.html", "/cart"),
            ("admin.html", "/admin"),
            ("rooms/attention.html", "/admin/attention"),
            ("rooms/buyers.html", "/admin/buyers"),
            ("rooms/catalogue.html", "/admin/catalogue"),
            ("rooms/drop.html", "/admin"),
            ("rooms/order.html", "/admin/orders"),
            ("rooms/orders.html", "/admin/orders"),
            ("rooms/revenue.html", "/admin/revenue"),
            ("rooms/webhooks.html", "/admin/webhooks"),
        ];
        let paths = BTreeMap::from(paths);
        for (name, Page { text: html, .. }) in &*PAGES {
            let path = paths.get(name.as_str());
            let marks = html.matches("aria-current").count();
            assert_eq!(marks, usize::from(path.is_some()), "{name}");
            if let Some(path) = path {
                let marked = format!("<a href=\"{path}\" aria-current=\"page\">");
                assert!(html.contains(&marked), "{name}");
            }
        }
    }

    #[test]
    fn problems_have_no_markup() {
        let plain = |text: &str| !text.contains(['<', '>', '&', '"']);
        assert!(Code::ALL.iter().all(|code| plain(code.title())));
    }
}
