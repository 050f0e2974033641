//! Changes of a database while the shop sells: its certificate, a password, a full disk.
//!
//! Promise: certificates are checked as `sslmode` says, a new password in the password file needs
//! no restart, and a full disk is an outage: 503 until there is space again, and nothing is lost.
//! Limit: needs an installed PostgreSQL. Only root can mount a small file system; for other users
//! the database raises the error of a full disk by a trigger.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::{App, Finished, Launch, Reply, eventually, key, run, text};
use nix::unistd::Uid;
use private_postgres::testing::single::{Single, USER};
use private_postgres::testing::{TestDatabase, fresh_database};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tempfile::TempDir;

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

/// A database of its own on `server`, with a role that logs in with `password`. The pool has no
/// connection yet.
async fn shop_on(server: &Single, password: &str) -> TestDatabase {
    let mut operator = server.operator().await;
    for statement in [
        format!("CREATE ROLE shop LOGIN PASSWORD '{password}'"),
        "CREATE DATABASE shop OWNER shop".to_owned(),
    ] {
        operator.execute(statement.as_str()).await.unwrap();
    }
    let socket = server.home().display();
    let port = server.port();
    let url = format!("postgres://{USER}@localhost:{port}/shop?host={socket}");
    TestDatabase {
        pool: PgPool::connect_lazy(&url).unwrap(),
        url,
    }
}

/// An authority, and a certificate and its key that it issued for `localhost`.
fn certificates() -> [String; 3] {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    [authority.pem(), certificate.pem(), key.serialize_pem()]
}

#[track_caller]
fn assert_refused(refused: &Finished, words: &str) {
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let last = refused.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("holdfast: "), "{refused:?}");
    assert!(last.contains(words), "{words}: {last}");
}

#[tokio::test]
async fn certificate_is_checked_as_sslmode_says() {
    let [authority, certificate, private] = certificates();
    let mut server = Single::create(|_| ())
        .with("ssl", "on")
        .with("ssl_cert_file", "../server.crt")
        .with("ssl_key_file", "../server.key");
    server.write("server.crt", &certificate);
    server.write("server.key", &private);
    server.start().await;
    let database = shop_on(&server, "secret").await;
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let ours = file("ours.pem", &authority);
    let another = file("another.pem", &certificates()[0]);
    let port = server.port();
    let launch = |host: &str, parameters: &str| {
        let url = format!("postgres://shop:secret@{host}:{port}/shop?{parameters}");
        Launch::on(database.clone()).with("DATABASE_URL", &url)
    };

    // An unknown authority, and one that did not issue it.
    let unknown = launch("localhost", "sslmode=verify-full");
    assert_refused(&unknown.run(&SERVE).await, "UnknownIssuer");
    let wrong = format!("sslmode=verify-full&sslrootcert={another}");
    assert_refused(
        &launch("localhost", &wrong).run(&SERVE).await,
        "invalid peer certificate",
    );
    // Another name; the limit of verify-ca is stated.
    for (mode, words) in [
        ("verify-full", "not valid for name \"127.0.0.1\""),
        ("verify-ca", "sslmode=verify-ca compares names"),
    ] {
        let parameters = format!("sslmode={mode}&sslrootcert={ours}");
        let refused = launch("127.0.0.1", &parameters).run(&SERVE).await;
        assert_refused(&refused, words);
    }
    let known = format!("sslmode=verify-full&sslrootcert={ours}");
    for launch in [
        launch("localhost", &known),
        launch("localhost", "sslmode=verify-ca").with("SSL_CERT_FILE", &ours),
        launch("localhost", "sslmode=verify-full").with("SSL_CERT_FILE", &ours),
        launch("127.0.0.1", "sslmode=require"),
    ] {
        let app = launch.start().await;
        let drop = app.create_drop(3, json!({})).await;
        app.held(&drop, "ann").await;
        let plain = "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
             WHERE a.usename = 'shop' AND NOT s.ssl";
        let plain: i64 = sqlx::query_scalar(plain)
            .fetch_one(&mut server.operator().await)
            .await
            .unwrap();
        assert_eq!(plain, 0, "sessions without TLS");
        app.stop().await;
    }
    // A server without TLS is refused.
    let without = fresh_database().await;
    let url = format!("{}&sslmode=verify-full", without.url);
    let refused = Launch::on(without).with("DATABASE_URL", &url);
    assert_refused(&refused.run(&SERVE).await, "does not support TLS");
}

async fn eventually_ready(app: &App, status: u16) {
    eventually("readiness reports the state", || async {
        (app.get("/health/ready").await.status == status).then_some(())
    })
    .await;
}

#[track_caller]
fn assert_unavailable(reply: &Reply) {
    reply.problem(503, "unavailable");
    assert!(!reply.header("retry-after").is_empty(), "{reply:?}");
}

/// Places a hold, by one request and its retries.
async fn eventually_held(app: &App, drop: &str, key: &str) -> String {
    let body = json!({ "buyer_id": "ann" });
    eventually("the hold is acknowledged", || async {
        let reply = app.hold_with(drop, key, &body).await;
        if reply.status == 201 {
            return Some(text(&reply.json()["id"]));
        }
        assert_unavailable(&reply);
        None
    })
    .await
}

#[tokio::test]
async fn new_password_in_the_password_file_needs_no_restart() {
    let mut server = Single::create(|_| ());
    server.start().await;
    let database = shop_on(&server, "first").await;
    let port = server.port();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("pgpass");
    let write = |password: &str| {
        // Replaced as a whole, as tools for secrets do.
        let next = folder.path().join("next");
        let line = format!("127.0.0.1:{port}:shop:shop:{password}\n");
        fs::write(&next, line).unwrap();
        fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(&next, &file).unwrap();
    };
    write("first");
    let url = format!("postgres://shop@127.0.0.1:{port}/shop?sslmode=disable");
    let app = Launch::on(database)
        .with("DATABASE_URL", &url)
        .with("PGPASSFILE", file.to_str().unwrap())
        .start()
        .await;
    let drop = app
        .create_drop(100_000, json!({ "hold_seconds": 3600 }))
        .await;
    let mut operator = server.operator().await;
    let change = |password: &str| format!("ALTER ROLE shop PASSWORD '{password}'");
    let end_sessions =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'shop'";

    // The file first: sessions that are opened between the two steps wait for the second one.
    write("second");
    operator.execute(change("second").as_str()).await.unwrap();
    operator.execute(end_sessions).await.unwrap();
    eventually_held(&app, &drop, &key()).await;
    eventually_ready(&app, 200).await;

    // The role first: an outage, until the file has the new password.
    operator.execute(change("third").as_str()).await.unwrap();
    app.held(&drop, "of an open session").await;
    operator.execute(end_sessions).await.unwrap();
    eventually_ready(&app, 503).await;
    let late = key();
    let refused = app
        .hold_with(&drop, &late, &json!({ "buyer_id": "ann" }))
        .await;
    assert_unavailable(&refused);
    write("third");
    eventually_held(&app, &drop, &late).await;
    eventually_ready(&app, 200).await;
    let stderr = app.stderr();
    for secret in ["second", "third"] {
        assert!(!stderr.contains(secret), "{stderr}");
    }
    assert_eq!(app.stock(&drop).await[2], 3);
    app.audit_verify().await;
    app.stop().await;
}

/// The disk of a database, to be filled and freed again.
enum Disk {
    /// The file that fills it.
    Mounted(PathBuf),
    /// Only root can mount a small file system. The database says the same words.
    Simulated,
}

const SIMULATED: &str = "
CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE OR REPLACE TRIGGER full_disk BEFORE INSERT ON events EXECUTE FUNCTION full_disk()";

impl Disk {
    /// Mounts a small file system on the directory, if this user may.
    fn mount(home: &Path) -> Self {
        if !Uid::effective().is_root() {
            return Self::Simulated;
        }
        let owner = fs::metadata(home).unwrap();
        let options = format!("size=160m,mode=700,uid={},gid={}", owner.uid(), owner.gid());
        let mut mount = Command::new("mount");
        run(mount
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(home));
        Self::Mounted(home.join("ballast"))
    }

    async fn fill(&self, operator: &mut PgConnection) {
        match self {
            Self::Mounted(file) => {
                let mut file = File::create(file).unwrap();
                for size in [1 << 20, 1 << 12, 1] {
                    let piece = vec![0; size];
                    while file.write_all(&piece).is_ok() {}
                }
            }
            Self::Simulated => {
                operator.execute(SIMULATED).await.unwrap();
            }
        }
    }

    async fn free(&self, operator: &mut PgConnection) {
        match self {
            Self::Mounted(file) => fs::remove_file(file).unwrap(),
            Self::Simulated => {
                let drop = "DROP TRIGGER full_disk ON events";
                operator.execute(drop).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn full_disk_is_an_outage_that_ends_with_it() {
    let mut disk = Disk::Simulated;
    let mut server = Single::create(|home| disk = Disk::mount(home))
        .with("min_wal_size", "2MB")
        .with("max_wal_size", "8MB");
    server.start().await;
    let database = shop_on(&server, "secret").await;
    let app = Launch::on(database.clone()).start().await;
    let drop = app
        .create_drop(1_000_000, json!({ "hold_seconds": 3600 }))
        .await;
    let mut held = vec![app.held(&drop, "ann").await];
    let mut operator = PgConnection::connect(&database.url).await.unwrap();
    for _ in 0..2 {
        disk.fill(&mut operator).await;
        // There is room in the pages and segments that exist.
        let refused = eventually("the disk is full", || async {
            let sent = key();
            let reply = app
                .hold_with(&drop, &sent, &json!({ "buyer_id": "ann" }))
                .await;
            if reply.status != 201 {
                return Some((sent, reply));
            }
            None
        })
        .await;
        let (sent, refused) = refused;
        assert_unavailable(&refused);
        eventually_ready(&app, 503).await;
        let stock = app.stock(&drop).await;
        assert_eq!(stock[1] + stock[2], 1_000_000, "reads are served");
        assert_unavailable(&app.hold(&drop, "bob").await);

        disk.free(&mut operator).await;
        if server.has_ended() {
            // A supervisor does this.
            server.start().await;
        }
        held.push(eventually_held(&app, &drop, &sent).await);
        eventually_ready(&app, 200).await;
        held.push(eventually_held(&app, &drop, &key()).await);
        operator = reconnected(&database).await;
    }
    let ledger = app.ledger().await;
    for hold in &held {
        assert!(ledger.has_hold(hold), "{hold} was acknowledged");
    }
    let [_, _, held, _] = app.stock(&drop).await;
    assert_eq!(ledger.count(&drop, "HoldPlaced") as u64, held);
    app.audit_verify().await;
    app.stop().await;
}

async fn reconnected(database: &TestDatabase) -> PgConnection {
    eventually("the server responds", || async {
        PgConnection::connect(&database.url).await.ok()
    })
    .await
}
