//! An answer, taken in full, and what a test may claim of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
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
    /// When it is none.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header; empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Whether it says that history held the answer already.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.header("idempotent-replayed") == "true"
    }

    /// The stable code of a problem; empty for what is no problem.
    #[must_use]
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Claims the status, and gives the body.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        if self.body.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }

    /// Claims a problem in the contract's form, and gives its body.
    ///
    /// # Panics
    /// When it is another, or not in that form.
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

    /// Claims some problem in the contract's form.
    ///
    /// # Panics
    /// When it is not in that form.
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
                "no {member}: {body}"
            );
        }
        body
    }

    /// Claims 422, and gives the pointers to what is not valid, in the order in which they are told.
    ///
    /// # Panics
    /// When it says something else.
    #[track_caller]
    #[must_use]
    pub fn invalid_places(&self) -> Vec<String> {
        self.faulty_places(422, "invalid_value")
    }

    /// Claims a problem that lists what is wrong, and gives the pointers to it.
    ///
    /// # Panics
    /// When it says something else.
    #[track_caller]
    #[must_use]
    pub fn faulty_places(&self, status: u16, code: &str) -> Vec<String> {
        let body = self.problem(status, code);
        let errors = body["errors"].as_array();
        let errors = errors.unwrap_or_else(|| panic!("no errors: {body}"));
        let has_detail = |error: &Value| !crate::text(&error["detail"]).is_empty();
        assert!(errors.iter().all(has_detail), "{body}");
        errors
            .iter()
            .map(|error| crate::text(&error["pointer"]))
            .collect()
    }

    /// Claims 422 for the value at `pointer`, and for no other.
    ///
    /// # Panics
    /// When it says something else.
    #[track_caller]
    pub fn invalid(&self, pointer: &str) {
        assert_eq!(self.invalid_places(), [pointer], "{}", self.text());
    }
}

/// How many answers there were of each status and code.
#[must_use]
pub fn tally(replies: &[Reply]) -> BTreeMap<(u16, String), usize> {
    let mut tally = BTreeMap::new();
    for reply in replies {
        *tally.entry((reply.status, reply.code())).or_insert(0) += 1;
    }
    tally
}
