//! The proxies of `ops/`, as they stand there except for addresses and certificates, in front of a
//! server, for a whole host and for a shop below a path.
//!
//! Limit: needs the proxy and curl; as root where apt-get exists, those of Debian are installed if
//! missing.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rcgen::CertifiedKey;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::spawn_blocking;

use crate::{eventually, install, on_path};

/// The name of the shop's host.
pub const SHOP: &str = "shop.example";
/// The path of the shops that are mounted below one.
pub const BELOW: &str = "/shop";

/// A port that was free a moment ago.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Installs Debian's package of a program that is missing.
///
/// # Panics
/// If it is still missing.
pub async fn needed(program: &'static str) {
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
///
/// # Panics
/// If it lacks one of them.
#[must_use]
pub fn configuration(file: &str, replacements: &[(&str, String)]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("ops").join(file)).unwrap();
    replacements.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{file} has no {from}");
        text.replace(from, to)
    })
}

/// Returns a configuration whose lines for a shop below a path are in force, instead of those for a
/// whole host.
fn below_a_path(text: &str) -> String {
    let mut is_whole_host = false;
    let mut is_below = false;
    let mut changed = 0;
    let lines = text.lines().map(|line| {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        if rest.starts_with("# The whole host is the shop") {
            is_whole_host = true;
        } else if rest.starts_with("# A shop below a path") {
            (is_whole_host, is_below) = (false, true);
        } else if !rest.starts_with('#') {
            is_below = false;
        }
        let code = rest.strip_prefix('#').filter(|code| {
            let is_prose = code.starts_with(' ') && !code.starts_with("    ");
            is_below && !is_prose
        });
        match code {
            Some(code) => {
                changed += 1;
                format!("{indent}{code}\n")
            }
            None if is_whole_host && !rest.is_empty() => format!("{indent}# {rest}\n"),
            None => format!("{line}\n"),
        }
    });
    let text = lines.collect();
    assert!(changed > 1, "no lines for a shop below a path: {text}");
    text
}

/// A proxy in front of a server, killed when dropped.
#[derive(Debug)]
pub struct Proxy {
    pub name: &'static str,
    /// The path below which the shop is; empty for a whole host.
    pub base: &'static str,
    pub https: u16,
    pub folder: TempDir,
    _process: Child,
}

/// The files and ports of a proxy to be started.
#[derive(Debug)]
pub struct Place {
    folder: TempDir,
    https: u16,
    http: u16,
    base: &'static str,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// For a shop that is a whole host.
    ///
    /// # Panics
    /// If the files cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let folder = TempDir::with_prefix("holdfast-proxy-").unwrap();
        // A proxy that is started as root works under another account.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([SHOP, "localhost"].map(str::to_owned)).unwrap();
        let (cert, private) = (cert.pem(), signing_key.serialize_pem());
        let place = Self {
            folder,
            https: free_port(),
            http: free_port(),
            base: "",
        };
        fs::write(place.path("shop.crt"), &cert).unwrap();
        fs::write(place.path("shop.key"), &private).unwrap();
        fs::write(place.path("shop.pem"), cert + &private).unwrap();
        place
    }

    /// For a shop below [`BELOW`].
    #[must_use]
    pub fn below() -> Self {
        Self {
            base: BELOW,
            ..Self::new()
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    async fn start(self, name: &'static str, arguments: &[&str], text: String) -> Proxy {
        needed(name).await;
        let text = match self.base {
            "" => text,
            _ => below_a_path(&text),
        };
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
            base: self.base,
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

    /// Starts this proxy in front of servers.
    ///
    /// # Panics
    /// If it does not serve.
    pub async fn haproxy(self, servers: [&str; 2]) -> Proxy {
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

    /// Starts this proxy in front of servers.
    ///
    /// # Panics
    /// If it does not serve.
    pub async fn nginx(self, server: &str) -> Proxy {
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

    /// Starts this proxy in front of servers.
    ///
    /// # Panics
    /// If it does not serve.
    pub async fn caddy(self, server: &str) -> Proxy {
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
    /// The origin of its pages for clients that resolve the name of the shop themselves.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("https://{SHOP}:{}", self.https)
    }

    /// The file with the authority of its certificate.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("shop.crt")
    }

    /// Returns curl with a request for a path of the shop.
    #[must_use]
    pub fn command(&self, path: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--http2", "--noproxy", "*"])
            .arg("--cacert")
            .arg(self.authority())
            .arg("--resolve")
            .arg(format!("{SHOP}:{}:127.0.0.1", self.https))
            .args(arguments)
            .arg(format!("{}{}{path}", self.origin(), self.base))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Sends a request, and returns the body, the HTTP version and the status.
    ///
    /// # Panics
    /// If curl cannot be run.
    pub async fn curl(&self, path: &str, arguments: &[&str]) -> String {
        let mut command = self.command(path, arguments);
        let status = ["--write-out", " %{http_version} %{http_code}"];
        let output = command.args(status).output().await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        format!("{stderr}{stdout}")
    }
}
