//! The modules that a page preloads.
//!
//! Promise: a page preloads exactly the modules that its script imports.
//! Limit: an import is found by its text, as `npm run format` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use minijinja::{Error, ErrorKind};

use crate::web_files::embedded;

/// The lists that were made: every page that is rendered for a request needs one.
static KNOWN: LazyLock<Mutex<BTreeMap<String, Vec<String>>>> = LazyLock::new(Mutex::default);

/// Returns the modules that `script` imports, directly or not, by their names below `web/`: a
/// browser then requests all of them at once.
///
/// # Errors
/// If one of them is not a file.
pub(super) fn preloads(script: &str) -> Result<Vec<String>, Error> {
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(modules) = known().get(script) {
        return Ok(modules.clone());
    }
    let modules = found(script)?;
    known().insert(script.to_owned(), modules.clone());
    Ok(modules)
}

/// Follows the imports of `script`.
fn found(script: &str) -> Result<Vec<String>, Error> {
    let mut found = BTreeSet::new();
    let mut open = vec![script.to_owned()];
    while let Some(module) = open.pop() {
        let code = embedded(&module).ok_or_else(|| {
            let detail = format!("no module has the name {module}");
            Error::new(ErrorKind::InvalidOperation, detail)
        })?;
        let imported = imports(&module, &code);
        open.extend(imported.difference(&found).cloned());
        found.extend(imported);
    }
    found.remove(script);
    Ok(found.into_iter().collect())
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
    use crate::web_files::Files;

    #[test]
    fn every_import_is_a_file() {
        for name in Files::iter().filter(|name| name.ends_with(".js")) {
            preloads(&name).unwrap();
        }
    }

    /// The module of the token does nothing on a page without this setting.
    #[test]
    fn dashboard_and_elements_on_other_sites_have_no_token_of_a_buyer() {
        let pages = Files::iter().filter(|name| name.ends_with(".html"));
        let with_setting: Vec<_> = pages
            .filter(|name| embedded(name).unwrap().contains("holdfast-token"))
            .collect();
        assert_eq!(with_setting, ["frames/shop.html"]);
        for name in Files::iter().filter(|name| name.starts_with("rooms/")) {
            let page = embedded(&name).unwrap();
            assert!(
                page.starts_with("{% extends \"frames/room.html\" %}"),
                "{name}"
            );
        }
        for name in ["admin.html", "frames/room.html", "sign-in.html"] {
            assert!(!embedded(name).unwrap().contains("shop.html"), "{name}");
        }
        let of_element = preloads("elements/holdfast-drop.js").unwrap();
        assert!(of_element.iter().any(|name| name == "lib/jwt.js"));
        assert!(!of_element.iter().any(|name| name == "lib/token.js"));
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
