//! The page of the demo's sign-in, and the request that it sends.

use std::sync::LazyLock;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use domain::values::{BuyerId, Entered};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PATH;
use crate::app::App;
use crate::extract::Body;
use crate::pages::{Page, parts, rendered};
use crate::problem::{Code, Problem};
use crate::session::{is_same_origin, of_another_origin};

/// The page, from its template.
const TEMPLATE: &str = "demo/sign-in.html";

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let rendered = parts().and_then(|parts| parts.get_template(TEMPLATE)?.render(()));
    Page::new(rendered.expect("the template is valid: a test renders it"))
});

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    /// The buyer.
    name: Entered<BuyerId>,
}

#[derive(Debug, Serialize)]
struct Token {
    token: String,
}

/// Returns the route of the page.
pub(crate) fn page() -> (&'static str, MethodRouter<App>) {
    (PATH, get(show).post(sign_in))
}

async fn show(headers: HeaderMap) -> Response {
    rendered(&headers, "text/html; charset=utf-8", &PAGE)
}

/// Signs a token for a name. Pages of other sites must not act for a buyer here.
async fn sign_in(
    State(app): State<App>,
    headers: HeaderMap,
    Body(SignIn {
        name: Entered(name),
    }): Body<SignIn>,
) -> Result<Json<Token>, Problem> {
    if is_same_origin(&Method::POST, &headers, app.brand.public_origin()) == Some(false) {
        let detail = "Tokens of the demo are only given to this server's own page.";
        return Err(of_another_origin(detail, &headers));
    }
    let Some(demo) = &app.demo_sign_in else {
        return Err(Problem::new(Code::NotFound, "No resource has this path."));
    };
    let token = demo.token(&name, app.now());
    let token = token.map_err(|error| Problem::internal(&error))?;
    Ok(Json(Token { token }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_says_that_it_belongs_to_the_demo() {
        assert!(PAGE.text.contains("part of the demo"));
        assert!(PAGE.text.contains("without a password"));
    }
}
