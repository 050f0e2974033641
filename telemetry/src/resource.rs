//! The description of this program: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::resource::v1::Resource;

use super::span::text;

/// Returns the resource. `attributes` are pairs `name=value` with commas; values are
/// percent-encoded.
pub(super) fn of(service: Option<&str>, attributes: &str) -> Resource {
    let mut all = pairs(attributes);
    let instance = hex::encode(rand::random::<[u8; 16]>());
    all.entry("service.instance.id".to_owned())
        .or_insert(instance);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    all.entry("service.version".to_owned()).or_insert(version);
    match service {
        Some(service) => {
            all.insert("service.name".to_owned(), service.to_owned());
        }
        None => {
            all.entry("service.name".to_owned())
                .or_insert_with(|| "holdfast".to_owned());
        }
    }
    Resource {
        attributes: all.iter().map(|(name, value)| text(name, value)).collect(),
        ..Resource::default()
    }
}

/// Reads pairs `name=value` with commas between them; a part that is no pair is ignored.
pub(super) fn pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.trim().to_owned(), decoded(value.trim())))
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

/// Decodes percent-escapes; others are kept.
fn decoded(text: &str) -> String {
    let mut bytes = vec![];
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_name_the_service_and_its_environment() {
        let named = |service, attributes| {
            let resource = of(service, attributes);
            let name = |name: &str| {
                let mut all = resource.attributes.iter();
                let found = all.find(|one| one.key == name)?;
                Some(format!("{:?}", found.value))
            };
            (
                name("service.name").unwrap(),
                name("deployment.environment.name"),
            )
        };
        assert!(named(None, "").0.contains("\"holdfast\""));
        let (name, environment) = named(
            None,
            "service.name=shop, deployment.environment.name=a%2Cb%zz,junk",
        );
        assert!(name.contains("\"shop\""), "{name}");
        assert!(environment.unwrap().contains("\"a,b%zz\""));
        assert!(named(Some("one"), "service.name=two").0.contains("\"one\""));
    }
}
