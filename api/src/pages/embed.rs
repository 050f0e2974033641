//! `/embed.js`: the script with which pages of other sites get the element `<holdfast-drop>`.
//!
//! Promise: its address stays, wherever the modules are, and it names all of them, so that a
//! browser requests them at the same time. Limit: a page of another origin needs
//! `HOLDFAST_CORS_ORIGINS` ([`crate::origins`]), for modules as for the API.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::preloads::preloads;
use crate::render::{digest, is_known};

/// The module that defines the element.
const ELEMENT: &str = "elements/holdfast-drop.js";

/// Lets pages of other sites load a file: it is the same for everyone.
pub(super) const FOR_OTHER_SITES: [(HeaderName, &str); 1] = [(
    HeaderName::from_static("cross-origin-resource-policy"),
    "cross-origin",
)];

struct Script {
    text: String,
    etag: String,
}

static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    let mut modules = preloads(ELEMENT).expect("every import is a file: a test checks each");
    modules.push(ELEMENT.to_owned());
    let import = |module: String| format!("import \"./assets/{module}\";\n");
    let text: String = modules.into_iter().map(import).collect();
    let etag = format!("\"{}\"", digest(text.as_bytes()));
    Script { text, etag }
});

/// Makes the script: an import that is no file must not wait for a request.
pub(super) fn prepare() {
    LazyLock::force(&SCRIPT);
}

/// `GET /embed.js`
pub(crate) async fn script(headers: HeaderMap) -> Response {
    let Script { text, etag } = &*SCRIPT;
    let cached = [
        (header::ETAG, etag.as_str()),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    if is_known(&headers, etag) {
        return (StatusCode::NOT_MODIFIED, FOR_OTHER_SITES, cached).into_response();
    }
    let kind = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (FOR_OTHER_SITES, cached, kind, text.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_imports_the_element_after_everything_that_it_needs() {
        let lines: Vec<&str> = SCRIPT.text.lines().collect();
        let element = format!("import \"./assets/{ELEMENT}\";");
        assert_eq!(lines.last(), Some(&element.as_str()));
        for module in ["lib/api.js", "lib/stream.js", "lib/currencies.js"] {
            let line = format!("import \"./assets/{module}\";");
            assert!(lines.contains(&line.as_str()), "{module}");
        }
    }
}
