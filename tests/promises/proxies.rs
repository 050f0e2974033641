//! The proxies of `ops/`, as they stand there except for addresses and certificates: TLS, live
//! streams, client addresses, Secure cookies, and restarts without a failed request.
//!
//! Limit: needs HAProxy, nginx, Caddy and curl; as root where apt-get exists, those of Debian are
//! installed if missing.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use harness::proxies::{BELOW, Place, Proxy, configuration, free_port, needed};
use harness::{ADMIN_KEY, Api, App, Launch, concurrently, eventually, key, on_path, text};
use private_postgres::testing::fresh_database;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The requests of a shop's clients through a proxy.
trait Client {
    async fn hold(&self, drop: &str, from: &str, buyer: &str) -> String;
    async fn assert_serves_a_shop(&self, app: &App, addresses: [&str; 2]);
}

impl Client for Proxy {
    /// Requests a hold from one of this machine's addresses.
    async fn hold(&self, drop: &str, from: &str, buyer: &str) -> String {
        let (key, body) = (key(), json!({ "buyer_id": buyer }).to_string());
        let key = format!("Idempotency-Key: {key}");
        let arguments = [
            "--interface",
            from,
            "--header",
            &key,
            "--json",
            &body,
            // What a client writes into these does not count.
            "--header",
            "X-Forwarded-For: 198.51.100.7",
            "--header",
            "Forwarded: for=198.51.100.7",
        ];
        self.curl(&format!("/v1/drops/{drop}/holds"), &arguments)
            .await
    }

    /// A hold, a limit per client address, a stream without delay, and a sign-in.
    async fn assert_serves_a_shop(&self, app: &App, [one, two]: [&str; 2]) {
        let name = self.name;
        let drop = app.create_drop(9, json!({ "hold_seconds": 3600 })).await;
        let stream = format!("/v1/stream?drops={drop}");
        let mut stream = self
            .command(&stream, &["--no-buffer"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(stream.stdout.take().unwrap()).lines();
        let mut until = async |words: &str| {
            loop {
                let line = lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("{name}: the stream ended"));
                if line.contains(words) {
                    break;
                }
            }
        };
        until(r#""held":0"#).await;
        let held = self.hold(&drop, one, "alice").await;
        assert!(held.ends_with(" 2 201"), "{name}: {held}");
        until(r#""held":1"#).await;
        let limited = self.hold(&drop, one, "bob").await;
        assert!(limited.ends_with(" 2 429"), "{name}: {limited}");
        let other = self.hold(&drop, two, "carol").await;
        assert!(other.ends_with(" 2 201"), "{name}: {other}");
        until(r#""held":2"#).await;

        let jar = self.folder.path().join("cookies").display().to_string();
        let (origin, body) = (
            format!("Origin: {}", self.origin()),
            json!({ "key": ADMIN_KEY }).to_string(),
        );
        let arguments = ["--cookie-jar", &jar, "--header", &origin, "--json", &body];
        let signed_in = self.curl("/v1/admin/session", &arguments).await;
        assert!(signed_in.ends_with(" 2 201"), "{name}: {signed_in}");
        let cookies = fs::read_to_string(&jar).unwrap();
        let cookie = cookies.lines().find(|line| line.contains("holdfast_admin"));
        // Host, subdomains, path, Secure.
        let fields: Vec<&str> = cookie.unwrap().split('\t').take(4).collect();
        let path = if self.base.is_empty() { "/" } else { self.base };
        assert_eq!(fields, ["#HttpOnly_shop.example", "FALSE", path, "TRUE"]);
        let session = self.curl("/v1/admin/session", &["--cookie", &jar]).await;
        assert!(session.contains(r#""admin":"admin""#), "{name}: {session}");
        let private = self.curl("/metrics", &[]).await;
        assert!(private.ends_with(" 404"), "{name}: {private}");
        // Pages show an outage by it.
        let ready = self.curl("/health/ready", &[]).await;
        assert!(ready.ends_with(" 200"), "{name}: {ready}");
    }
}

#[tokio::test]
async fn shop_is_served_through_each_proxy() {
    needed("curl").await;
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_TRUSTED_PROXIES", "127.0.0.1")
        .with("HOLDFAST_UNLIMITED_NETWORKS", "none")
        .with("HOLDFAST_ADDRESS_LIMIT", "1/600")
        .start()
        .await;
    let address = app.address();
    // The limits count on, so each proxy has clients of its own.
    let haproxy = Place::new().haproxy([address, address]).await;
    let clients = ["127.0.0.21", "127.0.0.22"];
    haproxy.assert_serves_a_shop(&app, clients).await;
    let nginx = Place::new().nginx(address).await;
    let clients = ["127.0.0.31", "127.0.0.32"];
    nginx.assert_serves_a_shop(&app, clients).await;
    let caddy = Place::new().caddy(address).await;
    let clients = ["127.0.0.41", "127.0.0.42"];
    caddy.assert_serves_a_shop(&app, clients).await;
}

#[tokio::test]
async fn shop_below_a_path_is_served_through_each_proxy() {
    needed("curl").await;
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_BASE_PATH", BELOW)
        .with("HOLDFAST_TRUSTED_PROXIES", "127.0.0.1")
        .with("HOLDFAST_UNLIMITED_NETWORKS", "none")
        .with("HOLDFAST_ADDRESS_LIMIT", "1/600")
        .start()
        .await;
    let address = app.address();
    let haproxy = Place::below().haproxy([address, address]).await;
    let clients = ["127.0.0.51", "127.0.0.52"];
    haproxy.assert_serves_a_shop(&app, clients).await;
    let nginx = Place::below().nginx(address).await;
    let clients = ["127.0.0.61", "127.0.0.62"];
    nginx.assert_serves_a_shop(&app, clients).await;
    let caddy = Place::below().caddy(address).await;
    let clients = ["127.0.0.71", "127.0.0.72"];
    caddy.assert_serves_a_shop(&app, clients).await;
}

/// HAProxy in front of two servers, without TLS, which the harness's client does not speak.
async fn without_tls(servers: [&str; 2]) -> (Child, Api, String, TempDir) {
    needed("haproxy").await;
    let folder = TempDir::with_prefix("holdfast-proxy-").unwrap();
    let (shop, operators) = (free_port(), free_port());
    let text = configuration(
        "haproxy.cfg",
        &[
            ("maxconn 40000", "maxconn 500".to_owned()),
            ("bind :80\n", format!("bind 127.0.0.1:{shop}\n")),
            (
                "bind :443 ssl crt /etc/haproxy/shop.pem alpn h2,http/1.1\n",
                String::new(),
            ),
            (
                "redirect scheme https code 308 unless { ssl_fc }",
                "set-header X-Tls off".to_owned(),
            ),
            ("10.0.0.11:8080", servers[0].to_owned()),
            ("10.0.0.12:8080", servers[1].to_owned()),
            ("127.0.0.1:8404", format!("127.0.0.1:{operators}")),
        ],
    );
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, text).unwrap();
    let process = Command::new(on_path("haproxy").unwrap())
        .arg("-db")
        .arg("-f")
        .arg(&file)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let states = format!("http://127.0.0.1:{operators}");
    let shop = Api::new(format!("http://127.0.0.1:{shop}"));
    (process, shop, states, folder)
}

/// Waits until HAProxy's check has found both servers ready.
async fn both_are_up(states: &str) {
    eventually("both servers are up", || async {
        let table = Api::new(states.to_owned()).request(Method::GET, "/;csv");
        let table = table.send().await.ok()?.text().await.ok()?;
        // The 37th column is the outcome of the last check.
        let up = table.lines().filter(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            fields.first() == Some(&"holdfast") && fields.get(36) == Some(&"L7OK")
        });
        (up.count() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn servers_are_restarted_one_by_one_under_load_without_a_failed_request() {
    let database = fresh_database().await;
    let launch = || Launch::on(database.clone()).with("HOLDFAST_DRAIN_SECONDS", "5");
    let mut apps = [launch().start().await, launch().start().await];
    let drop = apps[0]
        .create_drop(1_000_000, json!({ "hold_seconds": 3600 }))
        .await;
    eventually("the other server follows", || async {
        let found = apps[1].get(&format!("/v1/drops/{drop}")).await;
        (found.status == 200).then_some(())
    })
    .await;
    let (_haproxy, shop, states, _folder) =
        without_tls([apps[0].address(), apps[1].address()]).await;
    both_are_up(&states).await;

    let (is_over, placed) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let load = (0..6).map(|client| {
        let shop = Api::new(format!("http://{}", shop.address()));
        let (drop, is_over, placed) = (drop.clone(), Arc::clone(&is_over), Arc::clone(&placed));
        async move {
            let (mut held, mut failed) = (vec![], vec![]);
            while !is_over.load(Ordering::Relaxed) {
                let body = json!({ "buyer_id": format!("buyer-{client}-{}", held.len()) });
                match shop.try_hold_with(&drop, &key(), &body).await {
                    Ok(reply) if reply.status == 201 => held.push(text(&reply.json()["id"])),
                    Ok(reply) => failed.push(reply.text().clone()),
                    Err(error) => failed.push(format!("{error:?}")),
                }
                match shop.try_get(&format!("/v1/drops/{drop}")).await {
                    Some(reply) if reply.status == 200 => {}
                    other => failed.push(format!("{other:?}")),
                }
                placed.fetch_add(1, Ordering::Relaxed);
            }
            (held, failed)
        }
    });
    let load = tokio::spawn(concurrently(load.collect::<Vec<_>>()));
    let more = async || {
        let until = placed.load(Ordering::Relaxed) + 100;
        eventually("the load continues", || async {
            (placed.load(Ordering::Relaxed) >= until).then_some(())
        })
        .await;
    };
    for _ in 0..2 {
        more().await;
        let [first, second] = apps;
        let address = first.address().to_owned();
        first.terminate();
        let (status, launch) = first.ended().await;
        assert_eq!(status.code(), Some(0));
        more().await;
        let first = launch.start_at(&address, &["serve"]).await;
        both_are_up(&states).await;
        apps = [second, first];
    }
    more().await;
    is_over.store(true, Ordering::Relaxed);

    let outcomes = load.await.unwrap();
    let failed: Vec<&String> = outcomes.iter().flat_map(|(_, failed)| failed).collect();
    assert!(failed.is_empty(), "{} failed: {failed:?}", failed.len());
    let ledger = apps[0].ledger().await;
    let held: Vec<&String> = outcomes.iter().flat_map(|(held, _)| held).collect();
    assert!(held.len() >= 500, "{}", held.len());
    assert_eq!(ledger.count(&drop, "HoldPlaced"), held.len());
    assert!(held.iter().all(|hold| ledger.has_hold(hold)));
    apps[0].audit_verify().await;
}
