//! Pages within their frames. `web/frames/` has the parts that several pages share: the head, the
//! header, and the navigation.
//!
//! A page begins with `<!-- frame: NAME -->` and consists of sections, `<!-- section: NAME -->`.
//! A frame has slots, `<!-- slot: NAME -->`, which the sections of the page fill; a frame may have
//! a frame itself, and sections for pages that do not have their own. With `current: PATH` after
//! the frame's name, the frame's link to this path is marked as the current page.
//!
//! Promise: a page preloads exactly the modules that it imports.
//! Limit: pages are composed once, so a server must start again to show a change of a page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use super::Files;

/// The directory of the frames, which are not served.
pub(super) const FRAMES: &str = "frames/";
/// The slot of the links to the modules that a page imports.
const PRELOADS: &str = "preloads";

/// A composed page.
#[derive(Debug)]
pub(super) struct Composed {
    pub(super) html: String,
    /// The digest: the same bytes have the same tag in every process.
    pub(super) etag: String,
}

/// Every page, by the name of its file.
pub(super) static PAGES: LazyLock<BTreeMap<String, Composed>> = LazyLock::new(|| {
    let is_page = |name: &str| name.ends_with(".html") && !name.starts_with(FRAMES);
    let names = Files::iter().filter(|name| is_page(name));
    names
        .map(|name| {
            let html = compose(&text(&name));
            let digest = Sha256::digest(html.as_bytes());
            let etag = format!("\"{}\"", hex::encode(&digest[..16]));
            (name.into_owned(), Composed { html, etag })
        })
        .collect()
});

/// Returns an embedded file; an empty text if there is none, which the tests rule out.
fn text(name: &str) -> String {
    let file = Files::get(name).map(|file| file.data.into_owned());
    String::from_utf8(file.unwrap_or_default()).unwrap_or_default()
}

/// A page or a frame, in its parts.
struct Source<'a> {
    /// The name of its frame.
    frame: &'a str,
    current: Option<&'a str>,
    sections: Vec<(&'a str, &'a str)>,
}

/// Returns the parts of a page; `None` for the outermost frame, which has none.
fn parse(text: &str) -> Option<Source<'_>> {
    let (head, rest) = text.strip_prefix("<!-- frame: ")?.split_once(" -->\n")?;
    let (frame, current) = match head.split_once(", current: ") {
        Some((frame, path)) => (frame, Some(path)),
        None => (head, None),
    };
    let sections = rest.split("<!-- section: ");
    let sections = sections.filter_map(|section| section.split_once(" -->\n"));
    Some(Source {
        frame,
        current,
        sections: sections.collect(),
    })
}

/// Composes a page from its text.
fn compose(page: &str) -> String {
    let mut sections = BTreeMap::<String, String>::new();
    let mut outermost = page.to_owned();
    let mut current = None;
    while let Some(source) = parse(&outermost) {
        let marked = current.as_ref().map(|path| {
            let link = format!("<a href=\"{path}\"");
            (format!("{link}>"), format!("{link} aria-current=\"page\">"))
        });
        for (name, text) in source.sections {
            let text = match &marked {
                Some((link, marked)) => text.replace(link, marked),
                None => text.to_owned(),
            };
            sections.entry(name.to_owned()).or_insert(text);
        }
        current = current.or(source.current.map(str::to_owned));
        outermost = self::text(&format!("{FRAMES}{}.html", source.frame));
    }
    if let Some(script) = sections.get("script") {
        let preloads = preloads(script);
        sections.insert(PRELOADS.to_owned(), preloads);
    }
    let mut html = String::new();
    fill(&outermost, &sections, &mut html);
    html
}

/// Writes a text with its slots filled; a slot without a section stays empty.
fn fill(text: &str, sections: &BTreeMap<String, String>, html: &mut String) {
    for line in text.split_inclusive('\n') {
        let slot = line.strip_prefix("<!-- slot: ");
        match slot.and_then(|slot| slot.strip_suffix(" -->\n")) {
            Some(name) => {
                let section = sections.get(name).map_or("", String::as_str);
                fill(section, sections, html);
            }
            None => html.push_str(line),
        }
    }
}

/// Returns a link for each module that the modules of `script` import, directly or not: a browser
/// then requests all of them at once.
fn preloads(script: &str) -> String {
    let asset = |part: &str| {
        let path = part.strip_prefix("/assets/")?;
        path.ends_with(".js").then(|| path.to_owned())
    };
    let entries: BTreeSet<String> = script.split('"').filter_map(asset).collect();
    let mut found = BTreeSet::new();
    let mut open: Vec<String> = entries.iter().cloned().collect();
    while let Some(module) = open.pop() {
        let imported = imports(&module, &text(&module));
        open.extend(imported.difference(&found).cloned());
        found.extend(imported);
    }
    let link = |module| format!("  <link rel=\"modulepreload\" href=\"/assets/{module}\">\n");
    found.difference(&entries).map(link).collect()
}

/// Returns the modules that a module imports, by their names below `web/`.
fn imports(module: &str, code: &str) -> BTreeSet<String> {
    let directory = module
        .rsplit_once('/')
        .map_or("", |(directory, _)| directory);
    let statements = code.split(" from \"").skip(1);
    let bare = code.split("\nimport \"").skip(1);
    let first = code.strip_prefix("import \"");
    let paths = statements.chain(bare).chain(first);
    let paths = paths.filter_map(|rest| rest.split_once('"'));
    paths
        .filter_map(|(path, _)| match path.strip_prefix("../") {
            Some(path) => Some(path.to_owned()),
            None => Some(format!("{directory}/{}", path.strip_prefix("./")?)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_whole() {
        assert!(PAGES.len() >= 15, "{:?}", PAGES.keys());
        for (name, Composed { html, .. }) in &*PAGES {
            assert!(html.starts_with("<!doctype html>\n"), "{name}");
            assert!(html.ends_with("</html>\n"), "{name}");
            assert!(!html.contains("<!--"), "{name}: {html}");
            for part in ["<title>", "<main", "</main>", "<nav aria-label=\"Main\">"] {
                assert_eq!(html.matches(part).count(), 1, "{name}: {part}");
            }
        }
    }

    #[test]
    fn every_section_fills_a_slot_and_every_import_is_a_file() {
        for name in Files::iter().filter(|name| !name.starts_with(FRAMES)) {
            let text = text(&name);
            let mut all = text.clone();
            let mut sections = vec![];
            let mut outer = text.clone();
            while let Some(source) = parse(&outer) {
                sections.extend(source.sections.iter().map(|(name, _)| (*name).to_owned()));
                let frame = format!("{FRAMES}{}.html", source.frame);
                let next = Files::get(&frame).unwrap_or_else(|| panic!("{name}: {frame}"));
                outer = String::from_utf8(next.data.into_owned()).unwrap();
                all.push_str(&outer);
            }
            for section in sections {
                let slot = format!("<!-- slot: {section} -->\n");
                assert!(all.contains(&slot), "{name}: {section}");
            }
            if name.ends_with(".js") {
                for import in imports(&name, &text) {
                    assert!(Files::get(&import).is_some(), "{name}: {import}");
                }
            }
        }
    }

    #[test]
    fn page_marks_itself_in_the_links_of_its_frame_only() {
        for (name, path) in [
            ("cart.html", "/cart"),
            ("admin.html", "/admin"),
            ("rooms/order.html", "/admin/orders"),
        ] {
            let html = &PAGES[name].html;
            let marked = format!("<a href=\"{path}\" aria-current=\"page\">");
            assert_eq!(html.matches(&marked).count(), 1, "{name}");
            assert_eq!(html.matches("aria-current").count(), 1, "{name}");
        }
        let link = "<a href=\"/admin/orders\">orders</a>";
        assert!(PAGES["rooms/order.html"].html.contains(link));
    }

    #[test]
    fn imports_are_found_in_every_form() {
        let code = "import \"./a.js\";\nimport \"../lib/b.js\";\nimport { c } from \"./c.js\";\n\
            import {\n  d,\n} from \"../lib/d.js\";\nexport { e } from \"../pages/e.js\";\n\
            /** @type {import(\"../lib/f.js\").F} */\n";
        let expected = [
            "elements/a.js",
            "elements/c.js",
            "lib/b.js",
            "lib/d.js",
            "pages/e.js",
        ];
        let found = imports("elements/x.js", code);
        assert!(found.iter().eq(expected), "{found:?}");
    }
}
