//! The pages of problem codes, to which the `type` of a problem points.

use harness::{App, fetch, text};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn problem_type_links_to_its_explanation() {
    let app = App::start().await;
    let drop = app.create_drop(0, json!({})).await;
    let problem = app.hold(&drop, "alice").await.problem(409, "sold_out");
    let explanation = app.get(problem["type"].as_str().unwrap()).await;
    assert_eq!(explanation.status, 200);
    assert!(explanation.text().contains("sold_out"));
    let document = api::openapi::document();
    for code in api::problem::Code::ALL {
        let (name, path) = (code.name(), format!("/problems/{}", code.name()));
        let shown = app.get(&path).await;
        assert!(shown.header("content-type").starts_with("text/plain"));
        assert!(shown.text().contains(code.remedy()), "{}", shown.text());
        let page = app
            .request(Method::GET, &path)
            .header("accept", "text/html");
        let page = fetch(page).await;
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(
            (page.status, page.header("vary")),
            (200, "Accept"),
            "{name}"
        );
        // The example, and each operation that the document lists with the code.
        assert!(
            page.text()
                .contains(&format!("&quot;type&quot;: &quot;{path}&quot;")),
            "{name}"
        );
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                let status = &operation["responses"][code.status().as_str()];
                let problems = &status["content"]["application/problem+json"]["examples"];
                let link = format!("#{}\">", text(&operation["operationId"]));
                let is_linked = page.text().contains(&link);
                assert_eq!(is_linked, problems.get(name).is_some(), "{name}: {link}");
            }
        }
    }
}

#[tokio::test]
async fn list_of_problems_has_every_code_with_a_link() {
    let app = App::start().await;
    let listed = app.get("/problems").await;
    let page = app
        .request(Method::GET, "/problems")
        .header("accept", "text/html");
    let page = fetch(page).await;
    assert_eq!((listed.status, page.status), (200, 200));
    for code in api::problem::Code::ALL {
        let line = format!("{} ({}): {}.\n", code.name(), code.status(), code.title());
        assert!(listed.text().contains(&line), "{line}");
        let link = format!("<a href=\"/problems/{}\">", code.name());
        assert!(page.text().contains(&link), "{link}");
    }
    let reply = app
        .request(Method::GET, "/docs/none")
        .header("accept", "text/html");
    let reply = fetch(reply).await;
    assert_eq!((reply.status, reply.header("vary")), (404, "Accept"));
    assert!(reply.text().contains("Page not found"), "{}", reply.text());
}

#[tokio::test]
async fn unknown_problem_code_gets_404_with_all_codes() {
    let app = App::start().await;
    for path in ["/problems/zzz", "/problems/sold_out2", "/problems/%F0"] {
        let problem = app.get(path).await.problem(404, "not_found");
        let detail = text(&problem["detail"]);
        let page = app.request(Method::GET, path).header("accept", "text/html");
        let page = fetch(page).await;
        assert_eq!(
            (
                page.status,
                page.header("content-type"),
                page.header("vary")
            ),
            (404, "text/html; charset=utf-8", "Accept")
        );
        assert!(
            page.header("content-security-policy")
                .contains("script-src")
        );
        for code in api::problem::Code::ALL {
            let name = code.name();
            assert!(detail.contains(name), "{name}: {detail}");
            let link = format!("<a href=\"/problems/{name}\">");
            assert!(page.text().contains(&link), "{name}: {}", page.text());
        }
        assert!(page.text().contains("<h1>No problem has this code</h1>"));
        assert!(!page.text().contains("zzz"), "the path is not repeated");
    }
}
