//! The pages, rendered from their templates. `web/frames/` has the parts that several pages share:
//! the head, the header, and the navigation.
//!
//! Promise: an error in a template stops the server at its start. Every value is escaped, except
//! for HTML that a function of this module has escaped itself.
//! Limit: pages are rendered once for each language, so a server must start again to show a change
//! of a page. Only the pages of [`super::first_state`] are rendered for each request.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use domain::values::Currency;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, context};

use super::preloads::preloads;
use super::shop;
use crate::base_path::base_path;
use crate::brand::{Brand, Language};
use crate::problem::Code;
use crate::web_files::{Files, Page, embedded};

/// The directories of files that are not served: the frames, the templates of the API reference,
/// which [`crate::openapi`] renders with the document, the page of [`crate::demo_sign_in`], which
/// only the demo has, and the catalogues of texts.
const PARTS: [&str; 4] = ["demo/", "frames/", "reference/", "texts/"];

/// The pages of the shop, which are in the language of their reader. The others are in English.
const OF_SHOP: [&str; 8] = [
    "absent.html",
    "cart.html",
    "creator.html",
    "creators.html",
    "drop.html",
    "index.html",
    "order.html",
    "product.html",
];

/// The language of the pages that are not of the shop.
const ENGLISH: &str = "en";

/// Returns whether the file is a part of pages. Such files are not served.
pub(super) fn is_part(name: &str) -> bool {
    PARTS.iter().any(|directory| name.starts_with(directory))
}

/// Returns whether a page is in the language of its reader.
pub(super) fn is_of_shop(name: &str) -> bool {
    OF_SHOP.contains(&name)
}

/// The pages of a brand. Clones refer to the same ones.
#[derive(Debug, Clone)]
pub struct Templates(Arc<BTreeMap<String, Rendered>>);

/// The pages of one language.
#[derive(Debug)]
struct Rendered {
    templates: Environment<'static>,
    /// By the name of the file.
    pages: BTreeMap<String, Page>,
}

/// The pages of a shop without a theme, for the parts of the program that are not of a shop.
pub(super) static STANDARD: LazyLock<Templates> = LazyLock::new(|| {
    Templates::new(&Brand::default()).expect("the templates are valid: a test renders each")
});

impl Templates {
    /// Renders every page.
    ///
    /// # Errors
    /// If a template is not valid, which a test rules out.
    pub fn new(brand: &Brand) -> Result<Self, Error> {
        let sources = sources();
        let english = Language::shipped(ENGLISH);
        let mut all = BTreeMap::new();
        for language in brand.languages() {
            let rendered = render(&sources, brand, language, is_of_shop)?;
            all.insert(language.tag.clone(), rendered);
        }
        // Under a key that is no tag: a theme may replace texts of English.
        let others = render(&sources, brand, &english, |name| !is_of_shop(name))?;
        all.insert(String::new(), others);
        Ok(Self(Arc::new(all)))
    }

    /// Returns a page that is rendered.
    pub(super) fn page(&self, tag: &str, name: &str) -> Option<&Page> {
        let tag = if is_of_shop(name) { tag } else { "" };
        self.0.get(tag)?.pages.get(name)
    }

    /// Renders a page with values of a request.
    ///
    /// # Errors
    /// If the template is not valid with these values, which a test rules out.
    pub(super) fn render(&self, tag: &str, name: &str, values: Value) -> Result<String, Error> {
        let rendered = self
            .0
            .get(tag)
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "no page has this language"))?;
        rendered.templates.get_template(name)?.render(values)
    }

    #[cfg(test)]
    fn all(&self) -> impl Iterator<Item = (&str, &str, &Page)> {
        self.0.iter().flat_map(|(tag, rendered)| {
            let pages = rendered.pages.iter();
            pages.map(move |(name, page)| (tag.as_str(), name.as_str(), page))
        })
    }
}

/// The environment of the API reference: its templates, and the frames that they extend.
///
/// # Errors
/// If a template is not valid.
pub(crate) fn parts() -> Result<Environment<'static>, Error> {
    let english = Language::shipped(ENGLISH);
    let mut templates = environment(&Brand::default(), &english)?;
    for (name, source) in sources().into_iter().filter(|(name, _)| is_part(name)) {
        templates.add_template_owned(name, source)?;
    }
    Ok(templates)
}

/// Returns the templates and their names.
fn sources() -> BTreeMap<String, String> {
    let names = Files::iter().filter(|name| name.ends_with(".html"));
    names
        .filter_map(|name| Some((name.to_string(), embedded(&name)?)))
        .collect()
}

/// Returns an environment without templates.
fn environment(brand: &Brand, language: &Language) -> Result<Environment<'static>, Error> {
    let mut templates = Environment::empty();
    templates.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    templates.set_syntax(syntax.keep_trailing_newline(true).build()?);
    // Templates keep the setting of the moment at which they are added.
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    // Without a formatter, `/` is escaped as well.
    templates.set_formatter(|out, _, value| {
        if value.is_undefined() {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
        let text = value.to_string();
        let written = match value.is_safe() {
            true => out.write_str(&text),
            false => out.write_str(&escaped(&text)),
        };
        written.map_err(Error::from)
    });
    templates.add_global("base", base_path());
    templates.add_function("preloads", preloads);
    let texts = language.clone();
    templates.add_function("text", move |key: &str, values: Kwargs| {
        let text = filled(&texts, key, &values)?;
        values.assert_all_used()?;
        Ok::<_, Error>(Value::from_safe_string(text))
    });
    templates.add_function("link", |href: &str, words: Value| {
        let words = html(&words);
        Value::from_safe_string(format!("<a href=\"{}\">{words}</a>", escaped(href)))
    });
    let about = &language.about;
    templates.add_global(
        "language",
        context! { tag => &language.tag, dir => about.direction.name(), name => &about.name },
    );
    templates.add_global("brand", brand.context(language));
    Ok(templates)
}

/// Returns the text of a key in HTML, with its placeholders filled.
fn filled(language: &Language, key: &str, values: &Kwargs) -> Result<String, Error> {
    if !language.messages.contains_key(key) {
        let detail = format!("no text has the key {key}");
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    let mut text = escaped(language.text(key));
    for name in values.args() {
        let value: Value = values.get(name)?;
        text = text.replace(&format!("{{{name}}}"), &html(&value));
    }
    Ok(text)
}

/// Returns a value in HTML.
fn html(value: &Value) -> String {
    match value.is_safe() || value.kind() == ValueKind::Number {
        true => value.to_string(),
        false => escaped(&value.to_string()),
    }
}

/// Escapes a text for HTML, also within quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        let entity = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            '\'' => "&#39;",
            c => {
                escaped.push(c);
                continue;
            }
        };
        let _ = escaped.write_str(entity);
    }
    escaped
}

/// Renders the pages that `is_wanted` accepts.
fn render(
    sources: &BTreeMap<String, String>,
    brand: &Brand,
    language: &Language,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Rendered, Error> {
    let mut templates = environment(brand, language)?;
    let codes = Code::ALL.iter().map(|code| {
        let (name, status, title) = (code.name(), code.status().as_u16(), code.title());
        context! { name, status, title }
    });
    templates.add_global("codes", codes.collect::<Value>());
    templates.add_global("shop", shop::values());
    let currencies = Currency::all().into_iter();
    let currencies = currencies.map(|currency| currency.code().to_owned());
    templates.add_global("currencies", currencies.collect::<Value>());
    // A page that is rendered once shows no drops.
    templates.add_global("first", Value::from(()));
    for (name, source) in sources {
        templates.add_template_owned(name.clone(), source.clone())?;
    }
    let names = sources
        .keys()
        .filter(|name| !is_part(name) && is_wanted(name));
    let page = |name: &String| {
        let values = context! { is_shop => is_of_shop(name) };
        let text = templates.get_template(name)?.render(values)?;
        Ok((name.clone(), Page::new(text)))
    };
    let pages = names.map(page).collect::<Result<_, Error>>()?;
    Ok(Rendered { templates, pages })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_whole() {
        assert!(STANDARD.all().count() >= 3 * OF_SHOP.len() + 9);
        for (tag, name, Page { text: html, .. }) in STANDARD.all() {
            assert!(html.starts_with("<!doctype html>\n"), "{name}");
            assert!(html.ends_with("</html>\n"), "{name}");
            for part in ["<title>", "<main", "</main>", "<nav aria-label=\""] {
                let most = if part.starts_with("<nav") { 2 } else { 1 };
                let found = html.matches(part).count();
                assert!((1..=most).contains(&found), "{tag}: {name}: {part}");
            }
            let is_static = ["absent.html", "unknown-code.html"].contains(&name);
            let scripts = html.matches("<script type=\"module\"").count();
            assert_eq!(scripts, usize::from(!is_static), "{name}");
            let tag = if tag.is_empty() { "en" } else { tag };
            assert!(html.contains(&format!("<html lang=\"{tag}\"")), "{name}");
            assert_eq!(html.contains("dir=\"rtl\">"), tag == "he", "{name}");
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
        let (brand, english) = (Brand::default(), Language::shipped(ENGLISH));
        for (text, cause) in [
            ("{% block body %}", "unexpected end of input"),
            ("{% extends \"frames/absent.html\" %}", "frames/absent.html"),
            ("{{ absent }}", "undefined"),
            ("{{ text(\"absent\") }}", "no text has the key absent"),
            (
                "{{ text(\"cart.title\", link=1) }}{{ absent }}",
                "undefined",
            ),
            (
                "{% set script = \"pages/absent.js\" %}{{ preloads(script) }}",
                "pages/absent.js",
            ),
        ] {
            let sources = BTreeMap::from([("faulty.html".to_owned(), text.to_owned())]);
            let error = render(&sources, &brand, &english, |_| true);
            let error = error.unwrap_err().to_string();
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
        for (_, name, Page { text: html, .. }) in STANDARD.all() {
            let path = paths.get(name);
            let marks = html.matches("aria-current=\"page\"").count();
            assert_eq!(marks, usize::from(path.is_some()), "{name}");
            if let Some(path) = path {
                let marked = format!("<a href=\"{path}\" aria-current=\"page\">");
                assert!(html.contains(&marked), "{name}");
            }
        }
    }

    #[test]
    fn name_and_texts_of_a_theme_are_escaped() {
        let brand = Brand::parse(
            "name = \"<b>&\\\"'\"\n[footer]\ntext = \"</footer><script>\"\n[texts.en]\n\
             \"cart.title\" = \"<i>Basket</i>\"",
        );
        let templates = Templates::new(&brand.unwrap()).unwrap();
        let html = &templates.page("en", "cart.html").unwrap().text;
        assert!(html.contains("&lt;b&gt;&amp;&quot;&#39;"), "{html}");
        assert!(html.contains("&lt;/footer&gt;&lt;script&gt;"), "{html}");
        assert!(
            html.contains("<h1>&lt;i&gt;Basket&lt;/i&gt;</h1>"),
            "{html}"
        );
    }
}
