//! A request template that is overwritten for each buyer.

use std::net::SocketAddr;
use std::sync::Arc;

use uuid::Uuid;

use super::Question;
use crate::wire::ADMIN_KEY;

/// A request whose drop, buyer and key are overwritten: no allocation or formatting per
/// request.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    /// Offsets of the number: in the key, and in the buyer's id.
    numbers: Vec<usize>,
    /// Offset of the drop in the path, if the path contains one.
    drop_at: Option<usize>,
    drops: Arc<[[u8; 36]]>,
}

/// Hexadecimal digits of a request's number.
const DIGITS: usize = 12;
const PLACEHOLDER: &str = "############";

impl Template {
    /// Creates a request to `address` of kind `question` about the drops `ids`: each in turn, or
    /// all of them in each order.
    pub fn new(question: Question, address: SocketAddr, ids: &[Uuid]) -> Self {
        let first = ids.first().copied().unwrap_or_default();
        let drops: Vec<[u8; 36]> = ids.iter().map(|id| hyphenated(*id)).collect();
        // Keys and buyers must also differ between two loads on the same drop.
        let nonce: u32 = rand::random();
        // The server limits requests per address. The whole load comes from one address, so it uses
        // the admin key, which is exempt, like the back end of a shop.
        let head = format!("host: {address}\r\nauthorization: Bearer {ADMIN_KEY}\r\n");
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\n{head}\r\n");
        let post = |path: &str, body: &str| {
            format!(
                "POST {path} HTTP/1.1\r\n{head}\
                 content-type: application/json\r\nidempotency-key: k-{nonce:08x}-{PLACEHOLDER}\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let text = match question {
            Question::Read => get(&format!("/v1/drops/{first}")),
            Question::List => get("/v1/drops?limit=1"),
            Question::Hold | Question::Refusal => {
                let body = format!(r#"{{"buyer_id":"b-{nonce:08x}-{PLACEHOLDER}","quantity":1}}"#);
                post(&format!("/v1/drops/{first}/holds"), &body)
            }
            Question::Order => {
                let item = |id: &Uuid| format!(r#"{{"drop_id":"{id}","quantity":1}}"#);
                let items: Vec<String> = ids.iter().map(item).collect();
                let items = items.join(",");
                let body =
                    format!(r#"{{"buyer_id":"b-{nonce:08x}-{PLACEHOLDER}","items":[{items}]}}"#);
                post("/v1/orders", &body)
            }
        };
        let numbers = text
            .match_indices(PLACEHOLDER)
            .map(|(index, _)| index)
            .collect();
        let takes_turns = question != Question::Order;
        let drop_at = text.find(&first.to_string()).filter(|_| takes_turns);
        Self {
            bytes: text.into_bytes(),
            numbers,
            drop_at,
            drops: drops.into(),
        }
    }

    /// Returns the request with this number, which determines its buyer, key and drop.
    pub fn numbered(&mut self, number: u64) -> &[u8] {
        for &at in &self.numbers {
            write_hex(&mut self.bytes[at..at + DIGITS], number);
        }
        let drops = self.drops.len() as u64;
        if let Some(at) = self.drop_at.filter(|_| drops > 1) {
            let turn = usize::try_from(number % drops).unwrap_or_default();
            self.bytes[at..at + 36].copy_from_slice(&self.drops[turn]);
        }
        &self.bytes
    }
}

fn hyphenated(id: Uuid) -> [u8; 36] {
    let mut bytes = [0; 36];
    id.hyphenated().encode_lower(&mut bytes);
    bytes
}

fn write_hex(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(question: Question, drops: &[Uuid]) -> Template {
        Template::new(question, ([127, 0, 0, 1], 1).into(), drops)
    }

    fn ids(number: usize) -> Vec<Uuid> {
        (0..number).map(|_| Uuid::new_v4()).collect()
    }

    #[test]
    fn every_request_has_its_own_buyer_and_key() {
        let drops = ids(1);
        let mut template = template(Question::Hold, &drops);
        let first = String::from_utf8(template.numbered(0x1f).to_vec()).unwrap();
        let second = String::from_utf8(template.numbered(0x20).to_vec()).unwrap();
        assert!(first.contains("-00000000001f\r\n"), "{first}");
        assert!(first.contains(r#"-00000000001f","quantity":1}"#), "{first}");
        assert_eq!(second.matches("-000000000020").count(), 2);
        assert!(!second.contains('#'));
        let (head, body) = second.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(head.starts_with(&format!("POST /v1/drops/{}/holds ", drops[0])));
    }

    #[test]
    fn requests_alternate_between_drops() {
        let drops = ids(3);
        let mut template = template(Question::Read, &drops);
        for number in 0..6_u64 {
            let text = String::from_utf8(template.numbered(number).to_vec()).unwrap();
            let drop_id = drops[usize::try_from(number).unwrap() % 3];
            assert!(text.starts_with(&format!("GET /v1/drops/{drop_id} HTTP/1.1\r\n")));
        }
    }

    #[test]
    fn order_contains_every_drop_once() {
        let drops = ids(3);
        let mut template = template(Question::Order, &drops);
        for number in 0..2 {
            let text = String::from_utf8(template.numbered(number).to_vec()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("POST /v1/orders HTTP/1.1\r\n"), "{head}");
            assert!(head.contains(&format!("content-length: {}", body.len())));
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            let items = body["items"].as_array().unwrap();
            let ordered: Vec<String> = drops.iter().map(Uuid::to_string).collect();
            assert!(items.iter().map(|item| &item["drop_id"]).eq(&ordered));
        }
    }

    #[test]
    fn list_request_contains_no_drop() {
        let mut template = template(Question::List, &ids(3));
        let text = String::from_utf8(template.numbered(2).to_vec()).unwrap();
        assert!(
            text.starts_with("GET /v1/drops?limit=1 HTTP/1.1\r\n"),
            "{text}"
        );
        assert!(text.ends_with("\r\n\r\n"));
    }
}
