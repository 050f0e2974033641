//! The document for people: `GET /docs` and its pages, and the pages of problems, to which the
//! `type` of a problem points.
//!
//! Promise: every operation, schema and problem of the document is on a page, with its bounds and
//! defaults, examples, and samples in three languages; a new row of the table appears by itself.
//! The pages need no script. Limit: they are rendered at the first request for one of them, all at
//! once, because a server should not start later for them; a test renders each.

mod literal;
mod operation;
mod problem;
mod prose;
mod samples;
mod search;
mod words;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use minijinja::{Environment, Error};
use serde_json::{Value, json};

use self::words::Description;
use super::operations;
use super::schemas::Schemas;
use crate::negotiate::{preferred, varied};
use crate::pages::{Page, not_found_page, parts, rendered, unknown_code};
use crate::problem::Code;

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
/// Programs get a text by default; browsers ask for a page.
const MEDIA_TYPES: [&str; 2] = ["text/plain", "text/html"];

/// The name of the search index among the pages.
const INDEX: &str = "search.json";
/// The name of the page of all schemas.
const SCHEMAS: &str = "schemas";

/// `GET /docs`
pub(crate) async fn overview(headers: HeaderMap) -> Response {
    rendered(&headers, HTML, &REFERENCE.overview)
}

/// `GET /docs/{page}`: the operations of one tag, the schemas, or the search index.
pub(crate) async fn page(
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let name = path.map(|Path(name)| name).unwrap_or_default();
    match REFERENCE.pages.get(&name) {
        Some(page) if name == INDEX => rendered(&headers, "application/json", page),
        Some(page) => rendered(&headers, HTML, page),
        None => not_found_page(&headers, "The API reference has no page of this name."),
    }
}

/// `GET /problems`
pub(crate) async fn problems(headers: HeaderMap) -> Response {
    REFERENCE.problems.respond(&headers)
}

/// `GET /problems/{code}`: the target of a problem's `type`.
pub(crate) async fn problem(
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let name = path.map(|Path(name)| name).unwrap_or_default();
    match REFERENCE.codes.get(name.as_str()) {
        Some(page) => page.respond(&headers),
        None => varied(unknown_code(&headers)),
    }
}

/// A page with its text for programs.
#[derive(Debug)]
struct Explanation {
    html: Page,
    text: Page,
}

impl Explanation {
    fn respond(&'static self, headers: &HeaderMap) -> Response {
        varied(match MEDIA_TYPES[preferred(headers, &MEDIA_TYPES)] {
            "text/html" => rendered(headers, HTML, &self.html),
            _ => rendered(headers, TEXT, &self.text),
        })
    }
}

/// Every page.
#[derive(Debug)]
struct Reference {
    overview: Page,
    /// By the name in the URL: a tag's slug, `schemas` or `search.json`.
    pages: BTreeMap<String, Page>,
    problems: Explanation,
    codes: BTreeMap<&'static str, Explanation>,
}

static REFERENCE: LazyLock<Reference> =
    LazyLock::new(|| Reference::render().expect("the templates are valid: a test renders each"));

/// An operation of the document, in the order of the table.
#[derive(Debug)]
struct Row {
    path: String,
    method: &'static str,
    described: Value,
}

impl Row {
    fn text(&self, name: &str) -> &str {
        self.described[name].as_str().unwrap_or_default()
    }

    fn id(&self) -> &str {
        self.text("operationId")
    }

    fn tag(&self) -> &str {
        self.described["tags"][0].as_str().unwrap_or_default()
    }

    /// The URL of its part of a page.
    fn link(&self) -> String {
        format!("/docs/{}#{}", slug(self.tag()), self.id())
    }

    /// The parts that a list of operations shows.
    fn entry(&self) -> Value {
        json!({
            "id": self.id(), "method": self.method.to_uppercase(), "path": self.path,
            "summary": self.text("summary"), "to": self.link(),
        })
    }
}

/// Returns a title in the form of a URL.
fn slug(title: &str) -> String {
    title.to_lowercase().replace(' ', "-")
}

/// The document with its rows in the order of the table.
struct Source {
    description: Description,
    rows: Vec<Row>,
    /// The tags with their operations: a part of every page.
    contents: Value,
}

impl Source {
    fn new() -> Self {
        let row = |(path, method, described)| Row {
            path,
            method,
            described,
        };
        let all = operations::all(&mut Schemas::default()).into_iter();
        let rows: Vec<Row> = all.map(|operation| row(operation.described())).collect();
        let tag = |(name, description): (&str, &str)| {
            let operations = rows.iter().filter(|row| row.tag() == name).map(Row::entry);
            json!({
                "name": name, "slug": slug(name), "description": description,
                "operations": operations.collect::<Value>(),
            })
        };
        let contents = operations::TAGS.map(tag).into_iter().collect();
        Self {
            description: Description(super::document()),
            rows,
            contents,
        }
    }

    /// The paragraphs of the document's own description, each with its title.
    fn about(&self) -> Vec<Value> {
        let text = self.description.0["info"]["description"]
            .as_str()
            .unwrap_or_default();
        let paragraph = |text: &str| {
            let titled = text
                .strip_prefix("**")
                .and_then(|text| text.split_once(".** "));
            match titled {
                Some((title, text)) => json!({ "id": slug(title), "title": title, "text": text }),
                None => json!({ "id": null, "title": null, "text": text }),
            }
        };
        text.trim().split("\n\n").map(paragraph).collect()
    }

    /// The schemas that have a paragraph.
    fn schemas(&self) -> Vec<Value> {
        let schemas = self.description.schemas();
        let schema = |(name, schema): (&String, &Value)| {
            let names = schema["enum"].as_array().into_iter().flatten();
            let notes = &schema["x-enum-descriptions"];
            let names = names.enumerate();
            let names =
                names.map(|(i, name)| json!({ "name": name.to_string(), "text": notes[i] }));
            let choices = schema["oneOf"].as_array().into_iter().flatten();
            let choices = choices.map(|choice| json!({
                "members": self.description.members(choice), "kind": self.description.kind(choice),
                "text": choice["description"],
            }));
            json!({
                "name": name, "text": schema["description"], "names": names.collect::<Value>(),
                "choices": choices.collect::<Value>(), "members": self.description.members(schema),
            })
        };
        schemas.map(schema).collect()
    }
}

impl Reference {
    fn render() -> Result<Self, Error> {
        let source = Source::new();
        let templates = templates()?;
        let show = |name: &str, mut context: Value| {
            context["contents"] = source.contents.clone();
            let template = templates.get_template(&format!("reference/{name}.html"))?;
            let context = minijinja::Value::from(minijinja::value::Serde(&context));
            Ok::<_, Error>(Page::new(template.render(context)?))
        };
        let mut pages = BTreeMap::new();
        for tag in source.contents.as_array().into_iter().flatten() {
            let name = tag["slug"].as_str().unwrap_or_default();
            let rows = source.rows.iter().filter(|row| slug(row.tag()) == name);
            let operations = rows.map(|row| operation::view(&source.description, row));
            let context = json!({
                "current": name, "tag": tag, "operations": operations.collect::<Value>(),
            });
            pages.insert(name.to_owned(), show("tag", context)?);
        }
        let schemas = json!({ "current": SCHEMAS, "schemas": source.schemas() });
        pages.insert(SCHEMAS.to_owned(), show("schemas", schemas)?);
        pages.insert(
            INDEX.to_owned(),
            Page::new(search::index(&source).to_string()),
        );
        let overview = json!({ "current": "", "about": source.about() });
        let mut codes = BTreeMap::new();
        for &code in Code::ALL {
            let view = problem::view(&source, code);
            let html = show("problem", json!({ "current": "problems", "problem": view }))?;
            let text = Page::new(problem::text(code));
            codes.insert(code.name(), Explanation { html, text });
        }
        let listed = json!({ "current": "problems", "statuses": problem::by_status() });
        Ok(Self {
            overview: show("overview", overview)?,
            pages,
            problems: Explanation {
                html: show("problems", listed)?,
                text: Page::new(problem::list()),
            },
            codes,
        })
    }
}

/// Returns the templates, with their filters.
fn templates() -> Result<Environment<'static>, Error> {
    let mut templates = parts()?;
    // Without a formatter, `/` is escaped as well.
    templates.set_formatter(|out, _, value| {
        let text = value.to_string();
        let written = if value.is_safe() {
            out.write_str(&text)
        } else {
            out.write_str(&prose::escaped(&text))
        };
        written.map_err(Error::from)
    });
    let safe = |html| minijinja::Value::from_safe_string(html);
    templates.add_filter("prose", move |text: &str| safe(prose::prose(text)));
    templates.add_filter("sample", move |text: &str| safe(prose::sample(text)));
    Ok(templates)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all() -> impl Iterator<Item = (String, &'static Page)> {
        let reference = &*REFERENCE;
        let pages = reference.pages.iter().filter(|(name, _)| *name != INDEX);
        let pages = pages.map(|(name, page)| (format!("/docs/{name}"), page));
        let codes = reference.codes.iter();
        let codes = codes.map(|(name, page)| (format!("/problems/{name}"), &page.html));
        let fixed = [
            ("/docs", &reference.overview),
            ("/problems", &reference.problems.html),
        ];
        let fixed = fixed.map(|(path, page)| (path.to_owned(), page));
        fixed.into_iter().chain(pages).chain(codes)
    }

    /// Returns the values of an attribute.
    fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
        let start = format!(" {attribute}=\"");
        let values = page.split(start.as_str()).skip(1);
        values.filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn every_link_of_a_page_leads_to_a_part_of_a_page() {
        let ids: BTreeMap<String, BTreeSet<&str>> = all()
            .map(|(path, page)| (path, values(&page.text, "id").into_iter().collect()))
            .collect();
        let mut seen = 0;
        for (from, page) in all() {
            let of_reference = |link: &&str| {
                ["/docs", "/problems", "#"]
                    .iter()
                    .any(|part| link.starts_with(part))
            };
            for link in values(&page.text, "href").into_iter().filter(of_reference) {
                let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
                let path = if path.is_empty() { from.as_str() } else { path };
                let ids = ids.get(path).unwrap_or_else(|| panic!("{from}: {link}"));
                assert!(
                    fragment.is_empty() || ids.contains(fragment),
                    "{from}: {link}"
                );
                seen += 1;
            }
        }
        assert!(seen > 1_000, "{seen}");
    }

    #[test]
    fn every_page_is_whole_and_its_ids_are_distinct() {
        for (path, Page { text, .. }) in all() {
            assert!(text.starts_with("<!doctype html>\n"), "{path}");
            assert!(text.ends_with("</html>\n"), "{path}");
            for part in [
                "<title>",
                "<main",
                "</main>",
                "<h1",
                "<nav aria-label=\"Main\">",
            ] {
                assert_eq!(text.matches(part).count(), 1, "{path}: {part}");
            }
            let ids = values(text, "id");
            assert_eq!(
                ids.iter().collect::<BTreeSet<_>>().len(),
                ids.len(),
                "{path}: {ids:?}"
            );
            // An absent value, and an element that was escaped.
            for fault in [">none<", "&lt;/", "&amp;lt;"] {
                assert!(!text.contains(fault), "{path}: {fault}");
            }
        }
    }

    #[test]
    fn every_operation_is_on_the_page_of_its_tag_and_no_page_has_two_meanings() {
        let document = super::super::document();
        let mut count = 0;
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                let [id, tag] = [&operation["operationId"], &operation["tags"][0]];
                let page = &REFERENCE.pages[&slug(tag.as_str().unwrap())];
                assert!(
                    values(&page.text, "id").contains(&id.as_str().unwrap()),
                    "{id}"
                );
                count += 1;
            }
        }
        assert!(count > 50, "{count}");
        let slugs: BTreeSet<String> = operations::TAGS
            .iter()
            .map(|(name, _)| slug(name))
            .collect();
        assert_eq!(slugs.len() + 2, REFERENCE.pages.len());
    }

    #[test]
    fn values_of_the_document_are_escaped() {
        let templates = templates().unwrap();
        let context = minijinja::context! { a => "<b> & \"c\" /d" };
        let html = templates
            .render_str("{{ a }} {{ a|prose }}", context)
            .unwrap();
        assert_eq!(
            html,
            "&lt;b&gt; &amp; &quot;c&quot; /d &lt;b&gt; &amp; &quot;c&quot; /d"
        );
    }
}
