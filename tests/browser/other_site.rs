//! Another site: a page on another port that loads `/embed.js` with one script tag.
//!
//! It has two origins: `http://localhost:PORT`, which the server lists, and
//! `http://127.0.0.1:PORT`, which it does not. `GET /?body=HTML` is a page with this body. Its content security policy
//! permits files and connections of the server, and no inline script or style.

use axum::Router;
use axum::extract::Query;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Deserialize;
use tokio::net::TcpListener;

/// A site that does not respond yet, because its server is not known.
pub struct OtherSite(TcpListener);

#[derive(Debug, Deserialize)]
struct Asked {
    body: String,
}

impl OtherSite {
    pub async fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// The origin that is to be listed.
    pub fn origin(&self) -> String {
        format!("http://localhost:{}", self.0.local_addr().unwrap().port())
    }

    /// Serves pages that use the server at `address`; returns the listed origin.
    pub fn serve(self, address: &str) -> String {
        let origin = self.origin();
        let server = format!("http://{address}");
        let page = move |Query(Asked { body }): Query<Asked>| {
            let page = page(&server, &body);
            async { page }
        };
        let router = Router::new().route("/", get(page));
        tokio::spawn(async move { axum::serve(self.0, router).await });
        origin
    }
}

fn page(server: &str, body: &str) -> impl IntoResponse + use<> {
    let policy = format!(
        "default-src 'none'; script-src {server}; connect-src {server}; img-src {server} data:; \
         require-trusted-types-for 'script'"
    );
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><title>A shop</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <script type=\"module\" src=\"{server}/embed.js\"></script>\n\
         <main><h1>A shop</h1>{body}</main></html>\n"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        // The page isolates itself: only files that permit it are loaded.
        (
            header::HeaderName::from_static("cross-origin-embedder-policy"),
            "require-corp".to_owned(),
        ),
    ];
    (headers, html)
}
