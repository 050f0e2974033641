//! A subscriber of the SSE stream, which parses events as a browser does.

use bytes::BytesMut;
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use crate::described::check_event;
use crate::number;

/// One server-sent event, with the comment lines before it.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub event: String,
    pub id: String,
    pub data: String,
    pub retry: String,
    pub comment: String,
}

#[derive(Debug)]
pub struct Watcher {
    pub status: u16,
    pub headers: HeaderMap,
    response: Response,
    received: BytesMut,
}

impl Watcher {
    /// Sends the request and returns once the status has arrived.
    ///
    /// # Panics
    /// If the server does not respond.
    pub async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("the server responds");
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            response,
            received: BytesMut::new(),
        }
    }

    /// The next frame of any kind, or `None` if the server ended the stream.
    ///
    /// # Panics
    /// If the stream is cut off, or if a frame has no data: the standard ignores such a frame, and
    /// some clients deliver it as an empty event.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\n\n") {
                let frame = self.received.split_to(end + 2);
                let frame = Frame::parse(&String::from_utf8_lossy(&frame));
                assert!(!frame.data.is_empty(), "an event without data: {frame:?}");
                check_event(&frame.event, &frame.json());
                return Some(frame);
            }
            match self
                .response
                .chunk()
                .await
                .expect("the stream is not cut off")
            {
                Some(chunk) => self.received.extend_from_slice(&chunk),
                None => return None,
            }
        }
    }

    /// The next state of a drop.
    ///
    /// # Panics
    /// If the stream ends first.
    pub async fn drop(&mut self) -> Frame {
        loop {
            let frame = self.frame().await.expect("the stream continues");
            if frame.event == "drop" {
                return frame;
            }
        }
    }

    /// The first `waitlist` event whose data satisfies the condition.
    ///
    /// # Panics
    /// If the stream ends first.
    pub async fn waitlist_entry(&mut self, mut condition: impl FnMut(&Value) -> bool) -> Value {
        loop {
            let frame = self.frame().await.expect("the stream continues");
            if frame.event == "waitlist" && condition(&frame.json()) {
                return frame.json();
            }
        }
    }

    /// The first `order` event whose data satisfies the condition.
    ///
    /// # Panics
    /// If the stream ends first.
    pub async fn order(&mut self, mut condition: impl FnMut(&Value) -> bool) -> Frame {
        loop {
            let frame = self.frame().await.expect("the stream continues");
            if frame.event == "order" && condition(&frame.json()) {
                return frame;
            }
        }
    }

    /// The first state of a drop that satisfies the condition.
    ///
    /// # Panics
    /// If the stream ends first.
    pub async fn until(&mut self, mut condition: impl FnMut(&Value) -> bool) -> Frame {
        loop {
            let frame = self.drop().await;
            if condition(&frame.json()) {
                return frame;
            }
        }
    }
}

impl Frame {
    /// The data as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The id as a position.
    ///
    /// # Panics
    /// If it is not a number.
    #[track_caller]
    #[must_use]
    pub fn position(&self) -> u64 {
        number(&serde_json::from_str(&self.id).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut frame = Self::default();
        for line in text.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => frame.comment.push_str(value),
                "event" => value.clone_into(&mut frame.event),
                "id" => value.clone_into(&mut frame.id),
                "retry" => value.clone_into(&mut frame.retry),
                "data" => frame.data.push_str(value),
                other => panic!("unknown field {other} in the stream"),
            }
        }
        frame
    }
}
