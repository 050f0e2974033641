//! The `source` of CloudEvents: together with the `id`, which is the position, it identifies one
//! event globally (CloudEvents 1.0.2, "id" and "source").
//!
//! Promise: two logs have different sources, and one log has the same source whether it is read
//! from the database, a replica or an export. It is a UUID of version 8 (RFC 9562, section 5.8),
//! made of the first 16 bytes of the hash of the log's first event, so a reader of the log can
//! check it. Limit: a copy of a log that continues separately has the same source; set another one
//! for it.

use infrastructure::kept_heads::LogId;
use infrastructure::log::Hash;

use super::super::AuditError;
use super::super::source::Source;
use super::resume::LastEvent;
use super::{Events, ExportArgs, Format};

/// Returns the configured source, the resumed file's, or the log's own, in this order. Empty if
/// there are no events, or if the format has no source.
pub async fn of(
    args: &ExportArgs,
    source: &Source,
    events: &Events,
    last: Option<&LastEvent>,
) -> Result<String, AuditError> {
    if args.format != Format::Cloudevents {
        return Ok(String::new());
    }
    let kept = last.and_then(|last| last.cloud_source.as_deref());
    match (&args.cloudevents_source, kept, &args.output) {
        (Some(requested), Some(kept), Some(path)) if requested != kept => {
            Err(AuditError::OtherExport {
                path: path.clone(),
                reason: format!("its events have the source {kept}, not the requested {requested}"),
            })
        }
        (Some(requested), ..) => Ok(requested.clone()),
        (None, Some(kept), _) => Ok(kept.to_owned()),
        (None, None, _) => of_log(source, events).await,
    }
}

async fn of_log(source: &Source, events: &Events) -> Result<String, AuditError> {
    let first = events.first.as_ref().and_then(|page| page.events().next());
    let first = match first.transpose().map_err(AuditError::Log)? {
        None => return Ok(String::new()),
        Some(event) if event.position.0 == 1 => Some(event.hash),
        Some(_) => source.first_hash().await?,
    };
    first.map(urn).ok_or(AuditError::NamelessLog)
}

fn urn(first: Hash) -> String {
    LogId::of_first(first).0.urn().to_string()
}

/// Accepts the characters of a URI reference (RFC 3986): not empty, and with complete
/// percent-encodings.
pub fn uri_reference(text: &str) -> Result<String, String> {
    let mut bytes = text.bytes();
    let mut is_one = !text.is_empty();
    while let Some(byte) = bytes.next() {
        is_one &= match byte {
            b'%' => [bytes.next(), bytes.next()]
                .iter()
                .all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit())),
            _ => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(&byte),
        };
    }
    if is_one {
        Ok(text.to_owned())
    } else {
        Err(
            "must be a URI reference, such as urn:example:shop or https://shop.example/log"
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_is_a_version_8_uuid_of_the_first_hash() {
        // Version and variant take 6 of the 128 bits: RFC 9562, sections 4.1 and 4.2.
        assert_eq!(
            urn(Hash([0xff; 32])),
            "urn:uuid:ffffffff-ffff-8fff-bfff-ffffffffffff"
        );
        assert_eq!(
            urn(Hash([0x12; 32])),
            "urn:uuid:12121212-1212-8212-9212-121212121212"
        );
    }

    #[test]
    fn source_must_be_a_uri_reference() {
        for text in ["/v1/log", "urn:a:b", "https://a.example/l%20g?x=1#y", "log"] {
            assert_eq!(uri_reference(text), Ok(text.to_owned()));
        }
        for text in [
            "", "a b", "\u{e9}", "%2", "%zz", "a\nb", "\"", "<a>", "a\\b",
        ] {
            assert!(uri_reference(text).is_err(), "{text:?}");
        }
    }
}
