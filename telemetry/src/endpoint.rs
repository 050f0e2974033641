//! The address of a collector.

use std::str::FromStr;

use url::Url;

/// The address of a collector for OTLP over HTTP, such as `http://127.0.0.1:4318`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "must be an http or https URL, such as http://127.0.0.1:4318".to_owned();
        let url = Url::parse(text).map_err(|_| form())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(form());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "must not have a user name or password: use OTEL_EXPORTER_OTLP_HEADERS".to_owned(),
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must not have a query or fragment".to_owned());
        }
        Ok(Self(url))
    }
}

impl Endpoint {
    /// Returns the URL of a signal: `traces` or `metrics`.
    pub(super) fn of_signal(&self, signal: &str) -> String {
        format!("{}/v1/{signal}", self.0.as_str().trim_end_matches('/'))
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_paths_below_the_address() {
        for (text, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://otel.example/", "https://otel.example/v1/traces"),
            (
                "https://otel.example/a/",
                "https://otel.example/a/v1/traces",
            ),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.of_signal("traces"), url);
        }
        for text in [
            "",
            "127.0.0.1:4318",
            "grpc://a:4317",
            "http://",
            "http://a?b",
            "http://u:p@a",
        ] {
            let fault = text.parse::<Endpoint>().unwrap_err();
            assert!(fault.starts_with("must "), "{text}: {fault}");
        }
    }
}
