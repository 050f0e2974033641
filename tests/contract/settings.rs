//! Settings: each is a flag and a variable with the same meaning; invalid values are rejected with
//! an explanation.

mod command_line;
mod keys;
mod levels;

use harness::{App, Finished, Launch};

/// The address of a database that is not there: a command that uses it says so.
const NOWHERE: &str = "postgres://127.0.0.1:1/nowhere";

/// Runs the program without a server, to see how it reads its settings.
async fn run_with(variables: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let launch = variables
        .iter()
        .fold(Launch::private(), |launch, (name, value)| {
            launch.with(name, value)
        });
    launch.run(arguments).await
}

#[tokio::test]
async fn server_listens_on_a_host_name_too() {
    let app = Launch::fresh()
        .await
        .start_at("localhost:0", &["serve"])
        .await;
    assert!(app.address().starts_with("127.0.0.1:"), "{}", app.address());
    assert_eq!(app.get("/health/live").await.status, 200);
    let refused = run_with(&[("HOLDFAST_LISTEN", "localhost")], &["serve"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("HOST:PORT"), "{}", refused.stderr);
}

#[tokio::test]
async fn invalid_setting_is_explained_in_one_line_of_our_own_words() {
    for (name, value, words, code) in [
        (
            "HOLDFAST_QUEUE",
            "x",
            "must be a whole number from 1 to 1000000",
            2,
        ),
        (
            "HOLDFAST_QUEUE",
            "0",
            "must be a whole number from 1 to 1000000",
            2,
        ),
        (
            "HOLDFAST_MAX_WATCHERS",
            "0",
            "must be a whole number from 1 to 1000000",
            2,
        ),
        (
            "HOLDFAST_LISTEN",
            "127.0.0.1:x",
            "must be HOST:PORT, for example 127.0.0.1:8080",
            2,
        ),
        (
            "HOLDFAST_LISTEN",
            "no host name:80",
            "the host name cannot be resolved",
            2,
        ),
        (
            "DATABASE_URL",
            "127.0.0.1/shop",
            "DATABASE_URL is not a PostgreSQL address",
            2,
        ),
        (
            "DATABASE_URL",
            "mysql://127.0.0.1/shop",
            "DATABASE_URL is not a PostgreSQL address",
            2,
        ),
        (
            "DATABASE_URL",
            "postgres://127.0.0.1:1/shop",
            "cannot connect to the database: the connection was refused",
            1,
        ),
    ] {
        let refused = run_with(&[(name, value)], &["serve"]).await;
        assert_eq!(refused.code, Some(code), "{name}={value}: {refused:?}");
        let said: Vec<&str> = refused.stderr.lines().collect();
        assert_eq!(said.len(), 1, "{name}={value}: {}", refused.stderr);
        assert!(said[0].starts_with("holdfast: "), "{}", said[0]);
        assert!(said[0].contains(words), "{}", said[0]);
        for library in [
            "invalid digit",
            "os error",
            "relative URL",
            "is not in",
            "lookup",
        ] {
            assert!(!said[0].contains(library), "{}", said[0]);
        }
    }
}

#[tokio::test]
async fn error_line_quotes_no_password_of_a_url() {
    let stripe = [
        ("HOLDFAST_STRIPE_SECRET_KEY", "sk_test_x"),
        ("HOLDFAST_STRIPE_WEBHOOK_SECRET", "whsec_x"),
    ];
    let key = [("HOLDFAST_ADMIN_KEY", "k")];
    let secret = [(
        "HOLDFAST_BUYER_SECRET",
        "a secret of more than 32 bytes, for tests",
    )];
    for (name, with, command) in [
        ("DATABASE_URL", &[][..], "serve"),
        ("HOLDFAST_SIGN_IN_URL", &secret, "serve"),
        ("HOLDFAST_BUYER_JWKS", &[], "serve"),
        ("HOLDFAST_CORS_ORIGINS", &[], "serve"),
        ("HOLDFAST_PUBLIC_URL", &[], "serve"),
        ("HOLDFAST_VAPID_SUBJECT", &[], "serve"),
        ("HOLDFAST_STRIPE_API_BASE", &stripe, "serve"),
        ("HOLDFAST_URL", &key, "load"),
    ] {
        // One that is accepted after all must not keep a port that others need.
        let with = [with, &[("HOLDFAST_LISTEN", "127.0.0.1:0")]].concat();
        for value in [
            // Not of the scheme that any of them has, or not a URL at all.
            "ftp://ann:hunter2@shop.example",
            "https://ann:hunter2@shop.example:port",
        ] {
            let mut variables = with.clone();
            variables.push((name, value));
            let refused = run_with(&variables, &[command]).await;
            let said = &refused.stderr;
            assert!(
                matches!(refused.code, Some(1 | 2)),
                "{name}={value}: {refused:?}"
            );
            assert!(said.lines().count() == 1, "{name}={value}: {said}");
            assert!(
                !said.contains("ann:") && !said.contains("hunter2"),
                "{name}={value}: {said}"
            );
        }
    }
}

#[tokio::test]
async fn unknown_setting_is_a_warning_that_names_the_nearest_one() {
    let app = Launch::fresh()
        .await
        .with("HOLDFAST_QUEU", "9")
        .start()
        .await;
    let warning = "HOLDFAST_QUEU (did you mean HOLDFAST_QUEUE?)";
    app.wait_for_log(warning).await;
    let log = app.stderr();
    assert_eq!(log.matches(warning).count(), 1, "{log}");
}

#[tokio::test]
async fn empty_variable_counts_as_not_set() {
    let names = [
        "HOLDFAST_LISTEN",
        "HOLDFAST_ADMIN_KEY",
        "HOLDFAST_ADMIN_KEYS",
        "HOLDFAST_AUDITOR_KEY",
        "HOLDFAST_ADDRESS_LIMIT",
        "HOLDFAST_ADDRESS_HOLDS",
        "HOLDFAST_ADDRESS_WAITLIST",
        "HOLDFAST_ADDRESS_EXPIRED",
        "HOLDFAST_ADDRESS_ATTEMPTS",
        "HOLDFAST_UNLIMITED_NETWORKS",
        "HOLDFAST_TRUSTED_PROXIES",
        "HOLDFAST_MAX_CONNECTIONS_PER_ADDRESS",
        "HOLDFAST_MAX_STREAMS_PER_ADDRESS",
        "HOLDFAST_CORS_ORIGINS",
        "HOLDFAST_BUYER_TOKEN_MAX_SECONDS",
        "HOLDFAST_BUYER_LEEWAY_SECONDS",
        "HOLDFAST_SIGN_IN_URL",
        "HOLDFAST_DEMO_SIGN_IN",
        "HOLDFAST_QUEUE",
        "HOLDFAST_MAX_CLOCK_SKEW_MS",
        "HOLDFAST_MAX_CONNECTIONS",
        "HOLDFAST_HEAD_SECONDS",
        "HOLDFAST_IDLE_SECONDS",
        "HOLDFAST_MAX_WAITLIST",
        "HOLDFAST_MAX_WATCHERS",
        "HOLDFAST_STREAM_INTERVAL_MS",
        "HOLDFAST_POSTGRES",
        "HOLDFAST_CONNECTIONS",
        "HOLDFAST_WEBHOOK_NETWORKS",
        "HOLDFAST_WEBHOOK_RETRIES",
        "HOLDFAST_WEBHOOK_TIMEOUT_SECONDS",
        "HOLDFAST_PUSH_NETWORKS",
        "HOLDFAST_PUSH_RETRIES",
        "HOLDFAST_PUSH_TIMEOUT_SECONDS",
        "HOLDFAST_VAPID_SUBJECT",
        "HOLDFAST_VAPID_PRIVATE_KEY",
        "HOLDFAST_VAPID_PUBLIC_KEY",
        "HOLDFAST_LATE_PAYMENTS",
        "HOLDFAST_STRIPE_SECRET_KEY",
        "HOLDFAST_STRIPE_WEBHOOK_SECRET",
        "HOLDFAST_STRIPE_API_BASE",
        "HOLDFAST_DEMO_PAYMENTS",
        "HOLDFAST_SHOPPERS_PER_SECOND",
        "RUST_LOG",
    ];
    let launch = Launch::fresh().await;
    let app = names
        .iter()
        .fold(launch, |launch, name| launch.with(name, ""))
        .start()
        .await;
    let drop = app.create_drop(1, serde_json::json!({})).await;
    app.held(&drop, "alice").await;
    assert!(
        app.stderr().contains("INFO"),
        "an empty RUST_LOG counts as not set: {}",
        app.stderr()
    );
    // Without a database the one in the data directory is used, and it does not exist.
    let empty = [
        ("DATABASE_URL", ""),
        ("HOLDFAST_AUDIT_FILE", ""),
        ("HOLDFAST_AUDIT_JSON", ""),
    ];
    let audited = run_with(&empty, &["audit", "verify"]).await;
    assert!(audited.stderr.contains("no log found in"), "{audited:?}");
}

#[tokio::test]
async fn switch_variable_accepts_the_usual_words() {
    let app = App::start().await;
    let audit = async |value: &str| {
        let launch = app.launch().clone().with("HOLDFAST_AUDIT_JSON", value);
        launch.run(&["audit", "verify"]).await
    };
    for on in ["1", "yes", "true", "TRUE", "on"] {
        let verdict = audit(on).await;
        assert!(
            verdict.stdout.trim_start().starts_with('{'),
            "{on}: {verdict:?}"
        );
    }
    for off in ["0", "no", "false", "False", "off", ""] {
        let verdict = audit(off).await;
        assert!(
            verdict.stdout.starts_with("verified 0 events"),
            "{off}: {verdict:?}"
        );
    }
    let unclear = audit("maybe").await;
    assert_eq!(unclear.code, Some(2), "{unclear:?}");
    assert!(unclear.stderr.contains("--json"), "{}", unclear.stderr);
}

#[tokio::test]
async fn faulty_settings_are_found_before_a_key_is_generated_and_shown_by_config() {
    let audience = ("HOLDFAST_BUYER_AUDIENCE", "");
    let theme = ("HOLDFAST_THEME", "/nonexistent/theme.toml");
    let url = ("DATABASE_URL", "mysql://127.0.0.1/shop");
    let key = ("HOLDFAST_ADMIN_KEY", "two words");
    let vapid = ("HOLDFAST_VAPID_PUBLIC_KEY", "x");
    let keys = ("HOLDFAST_BUYER_JWKS", "/nonexistent/keys.json");
    for (name, value) in [audience, theme, url, key, vapid, keys] {
        let launch = Launch::private().with(name, value);
        let mut lines = vec![];
        for command in ["serve", "demo", "config"] {
            let refused = launch.run(&[command]).await;
            assert_eq!(refused.code, Some(2), "{name} {command}: {refused:?}");
            assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
            assert_eq!(
                refused.stdout.is_empty(),
                command != "config",
                "{refused:?}"
            );
            lines.push(refused.stderr);
        }
        lines.dedup();
        assert_eq!(lines.len(), 1, "every command has the same line: {lines:?}");
        assert!(!launch.data_dir().join("admin.key").exists(), "{name}");
    }
}
