//! What a query asks for. A parameter that is not known is left alone: a proxy or a campaign may have added it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::words::{field_named, in_words, pointer};
use crate::app::App;
use crate::problem::{Fault, Problem};

/// Query parameters. One without a value (`status=`, as a form sends what was left open) asks for nothing.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        read(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// Reads on after what cannot be read, without it, so that all of it is told at once.
fn read<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let has_value = |pair: &&str| !pair.ends_with('=');
    let mut pairs: Vec<&str> = query.split('&').filter(has_value).collect();
    let mut faults = vec![];
    loop {
        let fault = match deserialize(&pairs.join("&")) {
            Ok(params) if faults.is_empty() => return Ok(params),
            Ok(_) => return Err(Problem::invalid_queries(faults)),
            Err(fault) => fault,
        };
        let count = pairs.len();
        let place = fault.pointer.strip_prefix('/');
        pairs.retain(|pair| place.is_none_or(|name| name != name_of(pair)));
        faults.push(fault);
        if pairs.len() == count {
            return Err(Problem::invalid_queries(faults));
        }
    }
}

fn deserialize<T: DeserializeOwned>(query: &str) -> Result<T, Fault> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let deserializer = serde_urlencoded::Deserializer::new(pairs);
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let detail = in_words(&error.inner().to_string());
        let place = match field_named(&detail) {
            Some(name) => format!("/{name}"),
            None => pointer(error.path()),
        };
        Fault {
            pointer: place,
            detail,
        }
    })
}

fn name_of(pair: &str) -> String {
    let first = form_urlencoded::parse(pair.as_bytes()).next();
    first.map_or_else(String::new, |(name, _)| name.into_owned())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Asked {
        limit: Option<u8>,
        order: Option<Order>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Order {
        Recent,
    }

    #[test]
    fn what_cannot_be_read_is_all_told_by_name() {
        for (query, places) in [
            ("limit=x", vec!["/limit"]),
            ("limit=-1&order=name", vec!["/limit", "/order"]),
            ("order=name&limit=300&x=y", vec!["/limit", "/order"]),
            ("limit=1&limit=2", vec!["/limit"]),
            ("%6Cimit=%78", vec!["/limit"]),
        ] {
            let problem = read::<Asked>(query).unwrap_err();
            assert_eq!(problem.faulty_places(), places, "{query}");
        }
    }

    #[test]
    fn what_is_empty_or_unknown_asks_for_nothing() {
        for query in [
            "",
            "limit=",
            "limit=&order=",
            "utm=1&limit=",
            "&&",
            "limit=&x=%ff",
        ] {
            let asked: Asked = read(query).unwrap();
            assert_eq!(
                asked,
                Asked {
                    limit: None,
                    order: None
                },
                "{query}"
            );
        }
        let asked: Asked = read("order=recent&limit=7").unwrap();
        assert_eq!(asked.limit, Some(7));
    }
}
