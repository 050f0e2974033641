//! A complete response and the assertions that tests make about it.

use std::collections::BTreeMap;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::Value;

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header; empty if absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Returns true if the response repeats an earlier result.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.header("idempotent-replayed") == "true"
    }

    /// The stable code of a problem; empty for any other response.
    #[must_use]
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Asserts the status and returns the body.
    ///
    /// # Panics
    /// If the status differs.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        if self.body.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }

    /// Asserts that this is a problem document and returns its body.
    ///
    /// # Panics
    /// If it is another problem, or malformed.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let body = self.any_problem();
        assert_eq!(
            (self.status, self.code().as_str()),
            (status, code),
            "{body}"
        );
        body
    }

    /// Asserts that this is some problem document.
    ///
    /// # Panics
    /// If it is malformed.
    #[track_caller]
    pub fn any_problem(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let body = self.json();
        assert_eq!(body["status"], self.status, "{body}");
        for member in ["type", "title", "detail", "code"] {
            assert!(
                body[member].as_str().is_some_and(|text| !text.is_empty()),
                "missing {member}: {body}"
            );
        }
        body
    }

    /// Asserts 422 and returns the pointers to the invalid values, in the order of the response.
    ///
    /// # Panics
    /// If the response is something else.
    #[track_caller]
    #[must_use]
    pub fn invalid_pointers(&self) -> Vec<String> {
        self.error_pointers(422, "invalid_value")
    }

    /// Asserts a problem with a list of errors and returns their pointers.
    ///
    /// # Panics
    /// If the response is something else.
    #[track_caller]
    #[must_use]
    pub fn error_pointers(&self, status: u16, code: &str) -> Vec<String> {
        let body = self.problem(status, code);
        let errors = body["errors"].as_array();
        let errors = errors.unwrap_or_else(|| panic!("missing errors: {body}"));
        let has_detail = |error: &Value| !crate::text(&error["detail"]).is_empty();
        assert!(errors.iter().all(has_detail), "{body}");
        errors
            .iter()
            .map(|error| crate::text(&error["pointer"]))
            .collect()
    }

    /// Asserts 422 for the value at `pointer` and for no other.
    ///
    /// # Panics
    /// If the response is something else.
    #[track_caller]
    pub fn invalid(&self, pointer: &str) {
        assert_eq!(self.invalid_pointers(), [pointer], "{}", self.text());
    }
}

/// Counts responses by status and code.
#[must_use]
pub fn tally(replies: &[Reply]) -> BTreeMap<(u16, String), usize> {
    let mut tally = BTreeMap::new();
    for reply in replies {
        *tally.entry((reply.status, reply.code())).or_insert(0) += 1;
    }
    tally
}
