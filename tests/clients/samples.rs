//! The samples of the API reference run in their languages.
//!
//! Promise: every sample of every page is run against the real server, as a reader copies it: with
//! curl, Node and Python, after its placeholders were replaced. Each does its work, also that of a
//! new operation that this file does not know, except those of [`REFUSED`]. Limit: a resource that
//! [`World`] does not prepare is unknown to the server, and may be reported as such.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod programs;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use harness::{App, Launch};
use regex::Regex;
use serde_json::Value;

use self::programs::{run, run_until_first_event};
use self::world::World;

/// The languages, as the pages name them.
const LANGUAGES: [&str; 3] = ["curl", "JavaScript", "Python"];

/// Operations that cannot succeed with a copied sample, and the code of their refusal.
const REFUSED: [(&str, &str); 1] = [
    // Only the provider can sign its webhooks.
    ("receivePaymentWebhook", "signature_invalid"),
];

/// A sample as the page has it.
#[derive(Debug, Clone)]
struct Sample {
    operation: String,
    language: String,
    /// With placeholders as elements.
    html: String,
}

impl Sample {
    /// The names of its placeholders.
    fn names(&self) -> Vec<String> {
        let pattern = placeholders();
        let found = pattern.captures_iter(&self.html);
        found.map(|found| found[1].to_owned()).collect()
    }

    /// The text with the placeholders replaced.
    fn filled(&self, values: &BTreeMap<String, String>) -> String {
        let fill = |found: &regex::Captures<'_>| {
            values
                .get(&found[1])
                .unwrap_or_else(|| panic!("no {}", &found[1]))
                .clone()
        };
        let html = placeholders().replace_all(&self.html, fill);
        assert!(!html.contains('<'), "{html}");
        let text = html
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"");
        text.replace("&#39;", "'").replace("&amp;", "&")
    }
}

fn placeholders() -> Regex {
    Regex::new(r#"<var data-name="([a-z_]+)">[^<]*</var>"#).unwrap()
}

/// Returns every sample of the reference, in the order of its pages.
async fn samples(app: &App) -> Vec<Sample> {
    let section =
        Regex::new(r#"(?s)<section class="panel operation" id="(\w+)".*?</section>"#).unwrap();
    let sample = Regex::new(r#"(?s)data-language="(\w+)".*?<pre [^>]*>(.*?)</pre>"#).unwrap();
    let page = Regex::new(r#"<a href="(/docs/[a-z-]+)""#).unwrap();
    let overview = app.get("/docs").await.text();
    let mut paths: Vec<String> = page
        .captures_iter(&overview)
        .map(|found| found[1].to_owned())
        .collect();
    paths.sort();
    paths.dedup();
    let mut samples = vec![];
    for path in paths {
        let html = app.get(&path).await.text();
        for section in section.captures_iter(&html) {
            samples.extend(sample.captures_iter(&section[0]).map(|found| Sample {
                operation: section[1].to_owned(),
                language: found[1].to_owned(),
                html: found[2].to_owned(),
            }));
        }
    }
    samples
}

/// The ids of the operations in the document: all, and those whose response is a stream.
fn operations() -> (Vec<String>, Vec<String>) {
    let document = api::openapi::document();
    let items = document["paths"].as_object().unwrap().values();
    let operations = items.flat_map(|item| item.as_object().unwrap().values());
    let id = |operation: &&Value| operation["operationId"].as_str().unwrap().to_owned();
    let is_stream = |operation: &&Value| {
        let content = &operation["responses"]["200"]["content"];
        content.get("text/event-stream").is_some()
    };
    let streams = operations.clone().filter(is_stream);
    (
        operations.clone().map(|operation| id(&operation)).collect(),
        streams.map(|operation| id(&operation)).collect(),
    )
}

#[tokio::test]
async fn every_sample_is_a_valid_request_in_its_language() {
    let launch = Launch::fresh().await;
    // Webhooks of the tests are sent to this machine.
    let app = launch
        .with("HOLDFAST_WEBHOOK_NETWORKS", "127.0.0.0/8")
        .start()
        .await;
    let samples = samples(&app).await;
    let (all, streams) = operations();
    assert_eq!(samples.len(), all.len() * LANGUAGES.len());
    let world = World::of(&app);
    let mut succeeded = 0;
    for language in LANGUAGES {
        let mut texts = vec![];
        let mut incomplete = BTreeSet::new();
        for sample in samples.iter().filter(|sample| sample.language == language) {
            let operation = &sample.operation;
            let (values, is_complete) = world.values(operation, &sample.names()).await;
            if !is_complete {
                incomplete.insert(operation.clone());
            }
            texts.push((operation.clone(), sample.filled(&values)));
        }
        let (endless, ending): (Vec<_>, Vec<_>) = texts
            .into_iter()
            .partition(|(operation, _)| streams.contains(operation));
        for (_, text) in endless {
            // A stream of notifications begins with the first one.
            tokio::select! {
                () = run_until_first_event(language, &text) => {}
                () = world.notify_again_and_again() => {}
            }
        }
        let outcomes = run(language, &ending).await;
        assert_eq!(outcomes.len(), ending.len(), "{language}: {outcomes:#?}");
        for (operation, outcome) in &outcomes {
            let code = outcome.code();
            let is_accepted = (200..300).contains(&outcome.status);
            let is_unknown = code.ends_with("_not_found") && incomplete.contains(operation);
            assert!(
                is_accepted || is_unknown || REFUSED.contains(&(operation, &code)),
                "{operation} in {language}; does it need a resource of world.rs? {outcome:?}"
            );
            succeeded += u32::from(is_accepted);
        }
    }
    assert!(succeeded > 150, "{succeeded}");
}
