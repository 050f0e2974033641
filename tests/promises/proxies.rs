//! The proxies of `ops/`, as they stand there except for addresses and certificates: TLS, live
//! streams, client addresses, Secure cookies, and restarts without a failed request.
//!
//! Limit: needs HAProxy, nginx, Caddy and curl; as root where apt-get exists, those of Debian are
//! installed if missing.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use harness::{ADMIN_KEY, Api, App, Launch, concurrently, eventually, install, key, on_path, text};
use private_postgres::testing::fresh_database;
use rcgen::CertifiedKey;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::spawn_blocking;

const SHOP: &str = "shop.example";

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Installs Debian's package of a program that is missing.
async fn needed(program: &'static str) {
    spawn_blocking(move || {
        if on_path(program).is_none() {
            install(&[program]);
        }
        assert!(on_path(program).is_some(), "this test needs {program}");
    })
    .await
    .unwrap();
}

/// A configuration of `ops/`, with `replacements` of texts that it has.
fn configuration(file: &str, replacements: &[(&str, String)]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("ops").join(file)).unwrap();
    replacements.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{file} has no {from}");
        text.replace(from, to)
    })
}

/// A proxy in front of a server, killed when dropped.
struct Proxy {
    name: &'static str,
    https: u16,
    folder: TempDir,
    _process: Child,
}

/// The files and ports of a proxy to be started.
struct Place {
    folder: TempDir,
    https: u16,
    http: u16,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::with_prefix("holdfast-proxy-").unwrap();
        // A proxy that is started as root works under another account.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([SHOP.to_owned()]).unwrap();
        let (cert, private) = (cert.pem(), signing_key.serialize_pem());
        let place = Self {
            folder,
            https: free_port(),
            http: free_port(),
        };
        fs::write(place.path("shop.crt"), &cert).unwrap();
        fs::write(place.path("shop.key"), &private).unwrap();
        fs::write(place.path("shop.pem"), cert + &private).unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    async fn start(self, name: &'static str, arguments: &[&str], text: String) -> Proxy {
        needed(name).await;
        let file = self.path("configuration");
        fs::write(&file, text).unwrap();
        let arguments = arguments.iter().map(|word| match *word {
            "FILE" => file.as_str(),
            word => word,
        });
        let process = Command::new(on_path(name).unwrap())
            .args(arguments)
            .env("HOME", self.folder.path())
            .env("XDG_DATA_HOME", self.folder.path())
            .env("XDG_CONFIG_HOME", self.folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let proxy = Proxy {
            name,
            https: self.https,
            folder: self.folder,
            _process: process,
        };
        eventually("the proxy serves", || async {
            let live = proxy.curl("/health/live", &[]).await;
            live.ends_with(" 200").then_some(())
        })
        .await;
        proxy
    }

    async fn haproxy(self, servers: [&str; 2]) -> Proxy {
        let text = configuration(
            "haproxy.cfg",
            &[
                ("maxconn 40000", "maxconn 500".to_owned()),
                ("bind :80\n", format!("bind 127.0.0.1:{}\n", self.http)),
                ("bind :443 ", format!("bind 127.0.0.1:{} ", self.https)),
                ("/etc/haproxy/shop.pem", self.path("shop.pem")),
                ("10.0.0.11:8080", servers[0].to_owned()),
                ("10.0.0.12:8080", servers[1].to_owned()),
                ("127.0.0.1:8404", format!("127.0.0.1:{}", free_port())),
            ],
        );
        self.start("haproxy", &["-db", "-f", "FILE"], text).await
    }

    async fn nginx(self, server: &str) -> Proxy {
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = temporary.map(|kind| format!("{kind}_temp_path {};", self.path(kind)));
        let text = configuration(
            "nginx.conf",
            &[
                (
                    "http {",
                    format!("http {{ access_log off; {}", temporary.concat()),
                ),
                ("listen 80;", format!("listen 127.0.0.1:{};", self.http)),
                ("listen 443 ", format!("listen 127.0.0.1:{} ", self.https)),
                ("/etc/nginx/shop.crt", self.path("shop.crt")),
                ("/etc/nginx/shop.key", self.path("shop.key")),
                ("127.0.0.1:8080", server.to_owned()),
                (
                    "worker_rlimit_nofile 65536",
                    "worker_rlimit_nofile 1024".to_owned(),
                ),
                (
                    "worker_connections 30000",
                    "worker_connections 400".to_owned(),
                ),
            ],
        );
        // One process, which ends with the test.
        let pid = format!("daemon off; master_process off; pid {};", self.path("pid"));
        let arguments = ["-c", "FILE", "-g", pid.as_str(), "-e", "stderr"];
        self.start("nginx", &arguments, text).await
    }

    async fn caddy(self, server: &str) -> Proxy {
        let site = format!(
            "{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n\nhttps://{SHOP}:{} {{\n\ttls {} {}\n",
            self.https,
            self.path("shop.crt"),
            self.path("shop.key")
        );
        let text = configuration(
            "Caddyfile",
            &[
                ("shop.example {\n", site),
                ("127.0.0.1:8080", server.to_owned()),
            ],
        );
        // Global options are first in a file.
        let (comments, rest) = text.split_at(text.find("{\n\tadmin").unwrap());
        let text = format!("{rest}\n{comments}");
        let arguments = ["run", "--adapter", "caddyfile", "--config", "FILE"];
        self.start("caddy", &arguments, text).await
    }
}

impl Proxy {
    fn origin(&self) -> String {
        format!("https://{SHOP}:{}", self.https)
    }

    fn command(&self, path: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--http2", "--noproxy", "*"])
            .arg("--cacert")
            .arg(self.folder.path().join("shop.crt"))
            .arg("--resolve")
            .arg(format!("{SHOP}:{}:127.0.0.1", self.https))
            .args(arguments)
            .arg(format!("{}{path}", self.origin()))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Sends a request, and returns the body, the HTTP version and the status.
    async fn curl(&self, path: &str, arguments: &[&str]) -> String {
        let mut command = self.command(path, arguments);
        let status = ["--write-out", " %{http_version} %{http_code}"];
        let output = command.args(status).output().await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        format!("{stderr}{stdout}")
    }

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
        assert_eq!(fields, ["#HttpOnly_shop.example", "FALSE", "/", "TRUE"]);
        let session = self.curl("/v1/admin/session", &["--cookie", &jar]).await;
        assert!(session.contains(r#""admin":"admin""#), "{name}: {session}");
        for private in ["/metrics", "/health/ready"] {
            let refused = self.curl(private, &[]).await;
            assert!(refused.ends_with(" 404"), "{name} {private}: {refused}");
        }
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
