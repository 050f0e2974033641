//! The pages in a real browser: functions for buyers and administrators, accessibility, and
//! appearance.
//!
//! Promise: Chromium opens the pages that the real program serves; no page excludes assistive
//! technology, sends a request to another host, or writes an error to its console. The tests
//! themselves are JavaScript in `browser/`; screenshots of every page are written to [`pictures`].
//! Limit: needs Chromium, Node and npm; as root where apt-get exists, they are installed if
//! missing.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

#[path = "other_site.rs"]
mod other_site;
#[path = "tools.rs"]
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use harness::proxies::{BELOW, Place, Proxy};
use harness::{ADMIN_KEY, App, Launch, distinct};
use private_postgres::testing::url_for;
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::other_site::OtherSite;

/// The timeout of a file of tests.
const TIMEOUT: Duration = Duration::from_secs(900);

/// The directory of the screenshots: a build output.
fn pictures() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages")
}

/// Runs an npm script of `package.json` and asserts that it succeeds.
async fn assert_script_succeeds(name: &str) {
    let tools = tools::ready().await;
    let mut npm = tools.npm();
    npm.args(["run", "--silent", name]);
    let ended = timeout(TIMEOUT, npm.output()).await.unwrap().unwrap();
    let output = String::from_utf8_lossy(&ended.stdout);
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{output}\n{errors}");
}

#[tokio::test]
async fn page_scripts_pass_the_type_check() {
    assert_script_succeeds("types").await;
}

#[tokio::test]
async fn scripts_are_formatted_and_pass_the_linter() {
    assert_script_succeeds("lint").await;
}

#[tokio::test]
async fn texts_of_the_shop_are_in_the_catalogues() {
    assert_script_succeeds("texts").await;
}

/// Makes a test of each file of tests: each has a server and a browser of its own, so that they run
/// concurrently.
macro_rules! pages_work_in_a_real_browser {
    ($($file:ident),+ $(,)?) => {
        mod pages_work_in_a_real_browser {
            $(
                #[tokio::test]
                async fn $file() {
                    super::assert_page_tests_succeed(stringify!($file)).await;
                }
            )+
        }

        const FILES: &[&str] = &[$(stringify!($file)),+];
    };
}

pages_work_in_a_real_browser![
    access,
    accessibility,
    admin,
    below,
    buyer,
    catalogue,
    challenge,
    checkout,
    design,
    docs,
    drops,
    embed,
    first,
    languages,
    live,
    looks,
    many,
    numbers,
    push,
    restart,
    room,
    rooms,
    shop,
    states,
    tokens,
    waitlist,
];

#[test]
fn every_file_of_tests_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    let files = fs::read_dir(folder).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".test.mjs").map(str::to_owned)
    });
    assert_eq!(distinct(files), FILES);
}

async fn assert_page_tests_succeed(file: &str) {
    let tools = tools::ready().await;
    let server = Server::start(file).await;
    let control = server.clone().listen_for_commands().await;
    // Of the shop below a path, behind the proxy that is configured for it.
    let proxy = match file {
        "below" => Some(Place::below().nginx(&server.address).await),
        _ => None,
    };
    let url = proxy.as_ref().map_or_else(
        || format!("http://{}", server.address),
        |proxy| format!("https://localhost:{}{BELOW}", proxy.https),
    );
    let authority = proxy.as_ref().map(Proxy::authority);
    let mut tests = tools.node();
    tests
        .args(["--test", "--test-reporter=spec"])
        .arg(format!("{file}.test.mjs"))
        .env("HOLDFAST_URL", url)
        .env("HOLDFAST_ADMIN_KEY", ADMIN_KEY)
        .env("HOLDFAST_OUT", pictures())
        .env("HOLDFAST_CHROMIUM", tools.browser_for(file))
        .env("HOLDFAST_CONTROL", &control)
        .env("HOLDFAST_OTHER_SITE", &server.other_site)
        .env("HOLDFAST_BUYER_SECRET", BUYER_SECRET)
        .envs(authority.map(|file| ("NODE_EXTRA_CA_CERTS", file)))
        .stdin(Stdio::null());
    let ended = timeout(TIMEOUT, tests.output()).await.unwrap().unwrap();
    let output = String::from_utf8_lossy(&ended.stdout);
    let errors = String::from_utf8_lossy(&ended.stderr);
    println!("{output}");
    assert!(ended.status.success(), "{file}:\n{output}\n{errors}");
    let lines = server.app.lock().await.stderr();
    // The beginning of every token: `{"` in base64url.
    assert!(!lines.contains("eyJ"), "a token is in a log line:\n{lines}");
    assert!(
        !output.contains("tests 0\n"),
        "{file} has no test:\n{output}"
    );
}

/// The secret of the shop whose buyers need tokens.
const BUYER_SECRET: &str = "the secret of the shop for its buyers";

/// A shop with the sample drops, which a test can stop and start while its pages are open.
#[derive(Clone)]
struct Server {
    address: String,
    /// The origin of another site, whose pages may use this server.
    other_site: String,
    database: String,
    app: Arc<Mutex<App>>,
}

impl Server {
    /// Starts a shop for a file of tests. In that of the tests of tokens, buyers need them.
    async fn start(file: &str) -> Self {
        let launch = Launch::fresh().await;
        let launch = match file {
            "tokens" => launch
                .with("HOLDFAST_BUYER_SECRET", BUYER_SECRET)
                .with("HOLDFAST_DEMO_SIGN_IN", "1"),
            "below" => launch
                .with("HOLDFAST_BASE_PATH", BELOW)
                .with("HOLDFAST_TRUSTED_PROXIES", "127.0.0.1"),
            _ => launch,
        };
        // The tests of webhooks receive them on this machine.
        let launch = launch.with("HOLDFAST_WEBHOOK_NETWORKS", "127.0.0.0/8");
        let other_site = OtherSite::bind().await;
        let launch = launch.with("HOLDFAST_CORS_ORIGINS", &other_site.origin());
        let app = launch
            .start_as(&["demo", "--shoppers-per-second", "0"])
            .await;
        let address = app.address().to_owned();
        let other_site = other_site.serve(&address);
        harness::eventually("the samples are there", || async {
            let drops = app.get("/v1/drops").await.ok(200);
            (drops["data"].as_array().unwrap().len() == 4).then_some(())
        })
        .await;
        let database = sqlx::query_scalar("SELECT current_database()::text")
            .fetch_one(app.pool())
            .await
            .unwrap();
        let app = Arc::new(Mutex::new(app));
        Self {
            address,
            other_site,
            database,
            app,
        }
    }

    /// Serves commands over HTTP and returns the address: `POST /kill` and `POST /start` for the
    /// server, `POST /away` and `POST /back` for its database.
    async fn listen_for_commands(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                self.handle_command(connection).await;
            }
        });
        format!("http://{address}")
    }

    async fn handle_command(&self, mut connection: TcpStream) {
        let mut request = vec![0; 4096];
        let length = connection.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..length]);
        let mut app = self.app.lock().await;
        let status = if request.starts_with("POST /kill ") {
            app.kill();
            "204 No Content"
        } else if request.starts_with("POST /start ") {
            let launch = app.launch().clone();
            *app = launch.start_at(&self.address, &["serve"]).await;
            "204 No Content"
        } else if request.starts_with("POST /away ") {
            self.admit(false).await;
            "204 No Content"
        } else if request.starts_with("POST /back ") {
            self.admit(true).await;
            "204 No Content"
        } else {
            "404 Not Found"
        };
        let response = format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n");
        connection.write_all(response.as_bytes()).await.unwrap();
    }

    /// Allows or denies connections to the server's database; when denied, open ones are ended.
    async fn admit(&self, allowed: bool) {
        let mut operator = PgConnection::connect(&url_for("postgres").await)
            .await
            .unwrap();
        let allow = format!(
            "ALTER DATABASE \"{}\" WITH ALLOW_CONNECTIONS {allowed}",
            self.database
        );
        sqlx::query(&allow).execute(&mut operator).await.unwrap();
        if !allowed {
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
            let cut = sqlx::query(cut).bind(&self.database);
            cut.execute(&mut operator).await.unwrap();
        }
    }
}
