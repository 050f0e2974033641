//! A proxy that loses what clients must be prepared to lose.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};

/// The treatment of a request.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It is not forwarded: 503 with `Retry-After`.
    Unavailable,
    /// It is forwarded, and its response is lost.
    ResponseLost,
    /// Its response is cut off before these words.
    CutBefore(&'static str),
}

/// A proxy on this machine. One request per connection.
#[derive(Debug, Clone)]
pub struct Unreliable {
    server: String,
    faults: &'static [(&'static str, Fault)],
    heads: Arc<Mutex<Vec<String>>>,
}

impl Unreliable {
    /// Forwards to `server`. The first request that contains one of the words in its first line
    /// has the fault.
    pub fn new(server: &str, faults: &'static [(&'static str, Fault)]) -> Self {
        Self {
            server: server.to_owned(),
            faults,
            heads: Arc::default(),
        }
    }

    /// Starts, and returns its URL.
    pub async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = self.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(proxy.clone().serve(connection));
            }
        });
        format!("http://{address}")
    }

    /// The headers of each request whose first line contains `words`.
    pub fn requests(&self, words: &str) -> Vec<HashMap<String, String>> {
        let heads = self.heads.lock().unwrap();
        let matching = heads.iter().filter(|head| first_line(head).contains(words));
        let headers = matching.map(|head| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect()
        });
        headers.collect()
    }

    async fn serve(self, mut connection: TcpStream) {
        let Some((head, body)) = read_request(&mut connection).await else {
            return;
        };
        let fault = self.note(&head);
        if let Some(Fault::Unavailable) = fault {
            let refusal = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\n\
                           Connection: close\r\nContent-Length: 0\r\n\r\n";
            connection.write_all(refusal.as_bytes()).await.unwrap();
            return;
        }
        let mut onward = TcpStream::connect(&self.server).await.unwrap();
        let kept = head.trim_end().lines();
        let kept = kept.filter(|line| !line.to_lowercase().starts_with("connection:"));
        let kept: Vec<&str> = kept.collect();
        let head = format!("{}\r\nconnection: close\r\n\r\n", kept.join("\r\n"));
        onward.write_all(head.as_bytes()).await.unwrap();
        onward.write_all(&body).await.unwrap();
        // The client may leave first, as it does after a stream.
        let _ended = match fault {
            None | Some(Fault::Unavailable) => copy(&mut onward, &mut connection).await,
            Some(Fault::ResponseLost) => copy(&mut onward, &mut tokio::io::sink()).await,
            Some(Fault::CutBefore(words)) => copy_before(words, onward, &mut connection).await,
        };
    }

    /// Records a request and returns its fault, if it is the first one to have it.
    fn note(&self, head: &str) -> Option<Fault> {
        let mut heads = self.heads.lock().unwrap();
        let fault = self.faults.iter().find(|(words, _)| {
            let matches = |head: &str| first_line(head).contains(words);
            matches(head) && !heads.iter().any(|earlier| matches(earlier))
        });
        heads.push(head.to_owned());
        fault.map(|(_, fault)| *fault)
    }
}

fn first_line(head: &str) -> &str {
    head.lines().next().unwrap_or_default()
}

/// Returns the head and the body of a request; `None` if the client sends none.
async fn read_request(connection: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = vec![];
    loop {
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else { continue };
        let head = String::from_utf8(bytes[..end + 4].to_vec()).unwrap();
        let lower = head.to_lowercase();
        let length = lower.split("content-length: ").nth(1);
        let length = length.map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        while bytes.len() < end + 4 + length {
            if connection.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        return Some((head, bytes.split_off(end + 4)));
    }
}

/// Copies until a part of the response contains `words`.
async fn copy_before(words: &str, mut from: TcpStream, to: &mut TcpStream) -> std::io::Result<u64> {
    let mut copied = 0;
    loop {
        let mut part = vec![];
        from.read_buf(&mut part).await?;
        if part.is_empty() || String::from_utf8_lossy(&part).contains(words) {
            return Ok(copied);
        }
        copied += part.len() as u64;
        to.write_all(&part).await?;
    }
}
