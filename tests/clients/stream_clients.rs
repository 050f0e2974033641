//! Third-party clients of server-sent events follow the stream across restarts of the server.
//!
//! Promise: each of six clients receives the present state, every change, no empty event, and after
//! a restart the drops that ended meanwhile, because it reconnects with its `Last-Event-ID`.
//! Versions: httpx-sse and sseclient-py of `stream_clients/requirements.txt`, eventsource and
//! eventsource-client (built on fetch) of `stream_clients/package.json`, reqwest-eventsource of
//! `Cargo.toml`, and the installed Chromium. The two Python clients leave reconnecting to their
//! caller; the scripts reconnect as the packages' documentation describes.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

#[path = "../browser/tools.rs"]
mod tools;

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use harness::{App, Launch, Node, Python, Raw, eventually};
use reqwest_eventsource::{Event, EventSource};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// An event as a client delivers it. All fields are present, or the line is not from one of the
/// scripts.
#[derive(Debug, Clone, Deserialize)]
struct ReceivedEvent {
    event: String,
    id: String,
    data: String,
}

/// A client that follows the stream.
struct Client {
    name: &'static str,
    seen: Arc<Mutex<Vec<ReceivedEvent>>>,
    complaints: Arc<Mutex<String>>,
    _child: Option<Child>,
    tasks: Vec<JoinHandle<()>>,
}

impl Client {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            seen: Arc::default(),
            complaints: Arc::default(),
            _child: None,
            tasks: vec![],
        }
    }

    /// A program that prints each event as a line of JSON.
    fn program(name: &'static str, command: impl Into<Command>) -> Self {
        let mut client = Self::new(name);
        let mut command: Command = command.into();
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = piped
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let seen = Arc::clone(&client.seen);
        client.tasks.push(tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let event = serde_json::from_str(&line);
                let event = event.unwrap_or_else(|error| panic!("{name}: {error}: {line}"));
                seen.lock().unwrap().push(event);
            }
        }));
        let mut stderr = child.stderr.take().unwrap();
        let complaints = Arc::clone(&client.complaints);
        client.tasks.push(tokio::spawn(async move {
            let mut chunk = [0; 1024];
            while let Ok(length @ 1..) = stderr.read(&mut chunk).await {
                let text = String::from_utf8_lossy(&chunk[..length]);
                complaints.lock().unwrap().push_str(&text);
            }
        }));
        client._child = Some(child);
        client
    }

    fn reqwest_eventsource(url: &str) -> Self {
        let mut client = Self::new("reqwest-eventsource");
        let mut source = EventSource::get(url);
        let (seen, complaints) = (Arc::clone(&client.seen), Arc::clone(&client.complaints));
        client.tasks.push(tokio::spawn(async move {
            while let Some(next) = source.next().await {
                match next {
                    Ok(Event::Open) => {}
                    Ok(Event::Message(message)) => seen.lock().unwrap().push(ReceivedEvent {
                        event: message.event,
                        id: message.id,
                        data: message.data,
                    }),
                    Err(error) => complaints.lock().unwrap().push_str(&format!("{error}\n")),
                }
            }
        }));
        client
    }

    /// The latest state of a drop that the client received.
    fn state(&self, drop: &str) -> Option<Value> {
        let seen = self.seen.lock().unwrap();
        let states = seen.iter().map(|event| {
            let read = serde_json::from_str::<Value>(&event.data);
            read.unwrap_or_else(|error| panic!("{}: {error}: {event:?}", self.name))
        });
        states.filter(|state| state["id"] == drop).last()
    }

    /// Waits until the latest state of `drop` has `value` at `pointer`.
    async fn sees(&self, drop: &str, pointer: &str, value: Value) {
        let what = format!("{} sees {pointer} = {value} of {drop}", self.name);
        let look = || async {
            let state = self.state(drop);
            let is_there = state.is_some_and(|state| state.pointer(pointer) == Some(&value));
            let is_over = self.tasks.iter().any(JoinHandle::is_finished);
            if !is_there && is_over {
                panic!("{} ended: {}", self.name, self.complaints.lock().unwrap());
            }
            is_there.then_some(())
        };
        eventually(&what, look).await;
    }

    /// Asserts that the client delivered only events of the stream, none of them empty.
    fn assert_only_stream_events(&self) {
        for event in self.seen.lock().unwrap().iter() {
            let is_event = event.event == "drop" && event.id.parse::<u64>().is_ok();
            assert!(is_event, "{} delivered {event:?}", self.name);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        if std::thread::panicking() {
            let complaints = self.complaints.lock().unwrap_or_else(|p| p.into_inner());
            eprintln!("--- {}: {} ---", self.name, complaints.trim());
        }
    }
}

async fn clients(url: &str) -> Vec<Client> {
    let python = Python::with(include_str!("stream_clients/requirements.txt")).await;
    let node = Node::with(
        include_str!("stream_clients/package.json"),
        include_str!("stream_clients/package-lock.json"),
    )
    .await;
    let tools = tools::ready().await;
    let in_python = |script| {
        let mut command = python.command();
        command.args(["-c", script, url]);
        command
    };
    let in_node = |script| {
        let mut command = node.module(script);
        command.env("STREAM_URL", url);
        command
    };
    let mut chromium = tools.node();
    chromium
        .args(["--input-type=module", "--eval"])
        .arg(include_str!("stream_clients/chromium.mjs"))
        .env("HOLDFAST_CHROMIUM", tools.browser_for("clients"))
        .env("STREAM_URL", url);
    vec![
        Client::program(
            "httpx-sse",
            in_python(include_str!("stream_clients/httpx_sse.py")),
        ),
        Client::program(
            "sseclient-py",
            in_python(include_str!("stream_clients/sseclient.py")),
        ),
        Client::program(
            "eventsource",
            in_node(include_str!("stream_clients/eventsource.mjs")),
        ),
        Client::program(
            "eventsource-client",
            in_node(include_str!("stream_clients/eventsource_client.mjs")),
        ),
        Client::program("Chromium", chromium),
        Client::reqwest_eventsource(url),
    ]
}

async fn all_see(clients: &[Client], drop: &str, pointer: &str, value: Value) {
    for client in clients {
        client.sees(drop, pointer, value.clone()).await;
    }
}

async fn cancel(app: &App, drop: &str) {
    let path = format!("/v1/drops/{drop}/cancel");
    let cancel = app.admin(reqwest::Method::POST, &path).send().await;
    assert_eq!(cancel.unwrap().status(), 200);
}

#[tokio::test]
async fn six_clients_follow_the_stream_across_restarts_and_miss_no_end() {
    let launch = Launch::fresh().await;
    let mut app = launch.clone().start().await;
    let address = app.address().trim_start_matches("http://").to_owned();
    let shop = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
    let mut ending = vec![];
    for _ in 0..2 {
        ending.push(app.create_drop(1, json!({})).await);
    }
    let clients = clients(&format!("http://{address}/v1/stream")).await;
    for drop in ending.iter().chain([&shop]) {
        all_see(&clients, drop, "/status", json!("live")).await;
    }

    // A heartbeat is not an event, alone or before one. The last client to connect is the last to
    // get one.
    let mut quiet = Raw::connect(&address).await;
    quiet.watch("").await;
    quiet.read_until("\r\n:\n").await;
    app.held(&shop, "before").await;
    all_see(&clients, &shop, "/stock/held", json!(1)).await;

    for (round, drop) in (2..).zip(&ending) {
        // A clean stop first, then a kill.
        if round == 2 {
            app.stop().await;
        } else {
            app.kill();
            app.ended().await;
        }
        // Another server of the same log, to which no client connects.
        let elsewhere = launch.clone().start().await;
        cancel(&elsewhere, drop).await;
        elsewhere.held(&shop, &format!("away-{round}")).await;
        elsewhere.stop().await;
        app = launch.clone().start_at(&address, &["serve"]).await;
        all_see(&clients, drop, "/status", json!("cancelled")).await;
        all_see(&clients, &shop, "/stock/held", json!(round)).await;
        // Changes from here on.
        let sold = app.held(&shop, &format!("back-{round}")).await;
        app.purchase(&sold).await.ok(201);
        all_see(&clients, &shop, "/stock/sold", json!(round - 1)).await;
    }
    clients.iter().for_each(Client::assert_only_stream_events);
}
