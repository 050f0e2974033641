//! One attempt to send one message.

use std::time::Duration;

use bytes::Bytes;
use domain::values::Timestamp;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Request, StatusCode};
use url::Url;
use webhooks::counts::Result as Counted;
use webhooks::sender::{Sender, retry_after_in};

use crate::counts::Outcome;
use crate::encryption::encrypt;
use crate::store::Target;
use crate::vapid::Vapid;

/// A message to one subscription.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) plaintext: Vec<u8>,
    pub(crate) topic: String,
    pub(crate) urgency: &'static str,
    /// Seconds for which the push service keeps the message.
    pub(crate) ttl: u64,
}

/// The result of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sent {
    Delivered,
    /// The push service does not know the subscription any more.
    Forgotten,
    /// The attempt may succeed later.
    Again {
        error: String,
        retry_after: Option<Duration>,
        /// The push service is unreachable or overloaded, for all of its subscriptions.
        is_of_service: bool,
        outcome: Outcome,
    },
    /// The same request would be refused again.
    Dead {
        error: String,
        outcome: Outcome,
    },
}

impl Sent {
    pub(crate) const fn outcome(&self) -> Outcome {
        match self {
            Self::Delivered => Outcome::Delivered,
            Self::Forgotten => Outcome::Forgotten,
            Self::Again { outcome, .. } | Self::Dead { outcome, .. } => *outcome,
        }
    }
}

/// Sends a message.
pub(crate) async fn send(
    sender: &Sender,
    vapid: &Vapid,
    target: &Target,
    outgoing: &Outgoing,
) -> Sent {
    let now = Timestamp::from(chrono::Utc::now());
    let (url, request) = match request(vapid, target, outgoing, now) {
        Ok(request) => request,
        Err(error) => {
            return Sent::Dead {
                error,
                outcome: Outcome::Rejected,
            };
        }
    };
    let name = url.host_str().unwrap_or_default();
    match sender.exchange(&url, request).await {
        Ok((status, headers)) => outcome_of(name, status, &headers, now),
        Err(failure) => Sent::Again {
            error: format!("{name}: {}", failure.error),
            retry_after: None,
            is_of_service: true,
            outcome: match failure.counted {
                Counted::Unreachable => Outcome::Unreachable,
                Counted::Delivered | Counted::Rejected | Counted::NoResponse => Outcome::NoResponse,
            },
        },
    }
}

fn request(
    vapid: &Vapid,
    target: &Target,
    outgoing: &Outgoing,
    now: Timestamp,
) -> Result<(Url, Request<Full<Bytes>>), String> {
    let url: Url = target
        .endpoint
        .parse()
        .map_err(|_| "the endpoint is not a URL".to_owned())?;
    let body = encrypt(&outgoing.plaintext, &target.keys).map_err(|error| error.to_string())?;
    let authorization = vapid.authorization(&url, now.millis().div_euclid(1_000));
    let authorization = authorization.map_err(|error| error.to_string())?;
    let request = Request::post(url.as_str())
        .header(AUTHORIZATION, authorization)
        .header(CONTENT_ENCODING, "aes128gcm")
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(USER_AGENT, concat!("Holdfast/", env!("CARGO_PKG_VERSION")))
        .header("ttl", outgoing.ttl)
        .header("topic", &outgoing.topic)
        .header("urgency", outgoing.urgency)
        .body(Full::new(Bytes::from(body)));
    Ok((url, request.map_err(|error| error.to_string())?))
}

/// Reads a response (RFC 8030, sections 5 and 7; RFC 8292, section 4.2).
fn outcome_of(name: &str, status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Sent {
    if status.is_success() {
        return Sent::Delivered;
    }
    let reason = status.canonical_reason().unwrap_or_default();
    let error = format!("{name}: {} {reason}", status.as_u16());
    let error = error.trim_end().to_owned();
    let dead = |explanation: &str| Sent::Dead {
        error: format!("{error}: {explanation}"),
        outcome: Outcome::Rejected,
    };
    match status.as_u16() {
        404 | 410 => Sent::Forgotten,
        400 => dead("the push service does not accept the request"),
        401 | 403 => dead(
            "the push service does not accept the signature: check HOLDFAST_VAPID_SUBJECT, and \
             that every server has the same VAPID key",
        ),
        413 => dead("the message is too long for the push service"),
        status @ 300..=499 if !matches!(status, 408 | 425 | 429) => {
            dead("the push service does not accept the request")
        }
        status => Sent::Again {
            error,
            retry_after: headers
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| retry_after_in(value, now)),
            is_of_service: matches!(status, 429 | 502 | 503 | 504),
            outcome: Outcome::Rejected,
        },
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn of(status: u16, retry_after: Option<&'static str>) -> Sent {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).unwrap();
        outcome_of("push.example", status, &headers, Timestamp::default())
    }

    #[test]
    fn statuses_have_their_meaning() {
        for status in [200, 201, 202, 204] {
            assert_eq!(of(status, None), Sent::Delivered, "{status}");
        }
        for status in [404, 410] {
            assert_eq!(of(status, None), Sent::Forgotten, "{status}");
        }
        for status in [301, 307, 400, 401, 403, 405, 413, 415] {
            assert!(matches!(of(status, None), Sent::Dead { .. }), "{status}");
        }
        for (status, expected) in [
            (408, false),
            (425, false),
            (429, true),
            (500, false),
            (502, true),
            (503, true),
            (507, false),
        ] {
            let Sent::Again { is_of_service, .. } = of(status, None) else {
                panic!("{status}");
            };
            assert_eq!(is_of_service, expected, "{status}");
        }
    }

    #[test]
    fn requested_pause_is_read() {
        let Sent::Again {
            error, retry_after, ..
        } = of(429, Some("120"))
        else {
            panic!();
        };
        assert_eq!(retry_after, Some(Duration::from_secs(120)));
        assert_eq!(error, "push.example: 429 Too Many Requests");
    }
}
