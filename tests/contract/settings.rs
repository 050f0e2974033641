//! Settings: each is a flag and a variable with the same meaning; invalid values are rejected with
//! an explanation.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use harness::{App, Finished, Launch, run};

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
async fn empty_buyer_secret_is_rejected() {
    let empty = [("HOLDFAST_BUYER_SECRET", "")];
    for (variables, arguments) in [
        (&empty[..], &["serve"][..]),
        (&empty, &[]),
        (&empty, &["demo"]),
        (&[], &["serve", "--buyer-secret", ""]),
    ] {
        let refused = run_with(variables, arguments).await;
        assert_eq!(refused.code, Some(2), "{arguments:?}: {refused:?}");
        let words = refused.stderr.trim_end();
        assert!(words.contains("HOLDFAST_BUYER_SECRET"), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");
    }
    let refused = run_with(&[("HOLDFAST_BUYER_AUDIENCE", "")], &["serve"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("HOLDFAST_BUYER_AUDIENCE"),
        "{refused:?}"
    );
    // Commands that do not check buyer tokens ignore the buyer secret.
    let audited = run_with(&empty, &["audit", "verify"]).await;
    assert!(audited.stderr.contains("no log found in"), "{audited:?}");
}

#[tokio::test]
async fn settings_of_tokens_that_cannot_be_used_are_rejected_in_one_line() {
    for (name, value, reason) in [
        (
            "HOLDFAST_BUYER_SECRET_PREVIOUS",
            "a secret",
            "HOLDFAST_BUYER_SECRET",
        ),
        ("HOLDFAST_BUYER_JWKS", "", "it is empty"),
        (
            "HOLDFAST_BUYER_JWKS",
            "http://shop.example/jwks",
            "it must be https",
        ),
        (
            "HOLDFAST_BUYER_JWKS",
            "/nonexistent/keys.json",
            "/nonexistent/keys.json",
        ),
    ] {
        let refused = run_with(&[(name, value)], &["serve"]).await;
        assert_eq!(refused.code, Some(2), "{value}: {refused:?}");
        let words = refused.stderr.trim_end();
        assert!(words.contains(name) && words.contains(reason), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");
    }
}

#[tokio::test]
async fn settings_of_payments_that_cannot_be_used_are_rejected_in_one_line() {
    const KEY: (&str, &str) = ("HOLDFAST_STRIPE_SECRET_KEY", "sk_test_hunter2");
    const WEBHOOK: (&str, &str) = ("HOLDFAST_STRIPE_WEBHOOK_SECRET", "whsec_hunter2");
    for (variables, named) in [
        (&[KEY][..], WEBHOOK.0),
        (&[WEBHOOK], KEY.0),
        (&[("HOLDFAST_STRIPE_API_BASE", "http://127.0.0.1:1")], KEY.0),
        (&[(KEY.0, "pk_hunter2"), WEBHOOK], KEY.0),
        (&[KEY, (WEBHOOK.0, "hunter2")], WEBHOOK.0),
        (
            &[
                KEY,
                WEBHOOK,
                ("HOLDFAST_STRIPE_API_BASE", "http://10.0.0.1"),
            ],
            "HOLDFAST_STRIPE_API_BASE",
        ),
    ] {
        let refused = run_with(variables, &["serve"]).await;
        assert_eq!(refused.code, Some(2), "{variables:?}: {refused:?}");
        let words = refused.stderr.trim_end();
        assert!(
            words.contains(named) && !words.contains("hunter2"),
            "{words}"
        );
        assert_eq!(words.lines().count(), 1, "{words}");
    }
    for (name, flag) in [
        ("HOLDFAST_LATE_PAYMENTS", "--late-payments"),
        ("HOLDFAST_DEMO_PAYMENTS", "--demo-payments"),
    ] {
        let refused = run_with(&[(name, "maybe")], &["serve"]).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(flag), "{}", refused.stderr);
    }
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
async fn flag_overrides_its_variable_and_a_switch_set_to_off_is_ignored() {
    let nowhere = ["load", "--url", "http://127.0.0.1:9", "--admin-key", "key"];
    let off = [
        ("HOLDFAST_LOAD_ABANDON", "no"),
        ("HOLDFAST_LOAD_BUYERS", "0"),
    ];
    let ran = run_with(
        &off,
        &[&nowhere[..], &["--purchase", "--buyers", "3"]].concat(),
    )
    .await;
    assert_eq!(ran.code, Some(1), "only the server is missing: {ran:?}");
    let refused = run_with(&off, &nowhere).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let pace = [("HOLDFAST_SHOPPERS_PER_SECOND", "many")];
    let refused = run_with(&pace, &["demo"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("--shoppers-per-second"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn reachable_server_requires_explicit_keys_and_warns_of_short_ones() {
    let everywhere = ["serve", "--listen", "0.0.0.0:0"];
    let refused = run_with(&[], &everywhere).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("--admin-key"), "{}", refused.stderr);
    let short = [
        "serve",
        "--admin-key",
        "short",
        "--auditor-key",
        "sixteen-or-more-x",
        "--buyer-secret",
        "a secret of exactly 32 bytes, ok",
    ];
    let launch = Launch::fresh().await;
    let app = launch.clone().start_at("0.0.0.0:0", &short).await;
    assert_eq!(app.get("/health/live").await.status, 200);
    let words = app.stderr();
    assert!(
        words.contains("the admin key has fewer than 16 characters"),
        "{words}"
    );
    for name in ["the auditor key", "the buyer secret"] {
        assert!(!words.contains(name), "{name}: {words}");
    }
    assert!(
        words.contains("openssl rand"),
        "the next step is given: {words}"
    );
    drop(app);
    let app = launch.start_at("127.0.0.1:0", &short).await;
    assert!(
        !app.stderr().contains("fewer than"),
        "no other machine can connect: {}",
        app.stderr()
    );
    let help = run_with(&[], &["serve", "--help"]).await;
    assert!(help.stdout.contains("16"), "{}", help.stdout);
}

#[tokio::test]
async fn guessable_key_is_rejected_on_a_reachable_server() {
    for short in ["x", "key", "4444"] {
        let long = "sixteen-or-more-a";
        for (admin, auditor, name) in [
            (short, long, "the admin key"),
            (long, short, "the auditor key"),
        ] {
            let keys = ["serve", "--admin-key", admin, "--auditor-key", auditor];
            let everywhere = [&keys[..], &["--listen", "0.0.0.0:0"]].concat();
            let refused = run_with(&[], &everywhere).await;
            assert_eq!(refused.code, Some(2), "{refused:?}");
            let ending = if short.len() == 1 { "" } else { "s" };
            let words = format!("{name} has {} character{ending}", short.len());
            assert!(refused.stderr.contains(&words), "{refused:?}");
            if short == "x" {
                let app = Launch::fresh().await.start_at("127.0.0.1:0", &keys).await;
                app.wait_for_log(&words).await;
            }
        }
    }
}

fn counted_bytes(text: &str) -> String {
    match text.len() {
        1 => "1 byte,".to_owned(),
        more => format!("{more} bytes,"),
    }
}

#[tokio::test]
async fn short_buyer_secret_is_rejected_if_reachable_and_logged_otherwise() {
    let keys = [
        "--admin-key",
        "an-admin-key-of-20-c",
        "--auditor-key",
        "an-auditor-key-of-22-c",
    ];
    for short in ["x", "sixteen or more x", "31 bytes, which is one too few."] {
        let settings = [&["serve", "--buyer-secret", short], &keys[..]].concat();
        let everywhere = [&settings[..], &["--listen", "0.0.0.0:0"]].concat();
        let refused = run_with(&[], &everywhere).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        for words in [
            &format!("has {}", counted_bytes(short)),
            "RFC 7518",
            "openssl rand",
        ] {
            assert!(refused.stderr.contains(words), "{words}: {refused:?}");
        }
        assert!(
            !refused.stderr.contains(&format!("{short:?}")),
            "{refused:?}"
        );
        let app = Launch::fresh()
            .await
            .start_at("127.0.0.1:0", &settings)
            .await;
        let words = counted_bytes(short);
        let warned = format!("the buyer secret has {}:", words.trim_end_matches(','));
        app.wait_for_log(&warned).await;
    }
}

#[tokio::test]
async fn start_without_a_buyer_secret_is_explained_on_a_reachable_server() {
    const WORDS: &str = "can hold, buy and release as any buyer";
    let keys = [
        "serve",
        "--admin-key",
        "sixteen-or-more-a",
        "--auditor-key",
        "sixteen-or-more-x",
    ];
    let secret = ["--buyer-secret", "thirty-two bytes or more for HS256"];
    let launch = Launch::fresh().await;
    for (address, arguments, is_said) in [
        ("0.0.0.0:0", keys.to_vec(), true),
        ("0.0.0.0:0", [&keys[..], &secret].concat(), false),
        ("127.0.0.1:0", keys.to_vec(), false),
    ] {
        let app = launch.clone().start_at(address, &arguments).await;
        let words = app.stderr();
        assert_eq!(words.contains(WORDS), is_said, "{address}: {words}");
        if is_said {
            assert!(words.contains("HOLDFAST_BUYER_SECRET"), "{words}");
        }
    }
}

/// A variable that is left over in a shell or a unit file must not confirm a repair.
#[tokio::test]
async fn repair_is_confirmed_on_the_command_line_only() {
    let app = App::start().await;
    app.create_drop(1, serde_json::json!({})).await;
    let cut = ["log", "cut", "--after", "0", "--reason", "a test"];
    let launch = ["HOLDFAST_LOG_YES", "HOLDFAST_LOG_FORCE", "HOLDFAST_YES"]
        .iter()
        .fold(app.launch().clone(), |launch, name| launch.with(name, "1"));
    let planned = launch.run(&cut).await;
    assert_eq!(planned.code, Some(0), "{planned:?}");
    assert!(
        planned.stdout.contains("nothing was changed"),
        "{planned:?}"
    );
    let refused = launch.run(&[&cut[..], &["--yes"]].concat()).await;
    assert_eq!(refused.code, Some(1), "the server runs: {refused:?}");
    assert!(refused.stderr.contains("--force"), "{refused:?}");
    assert_eq!(app.requested_events().await, 1);
    let help = launch.run(&["log", "cut", "--help"]).await;
    assert!(!help.stdout.contains("HOLDFAST_LOG_YES"), "{}", help.stdout);
    assert!(
        !help.stdout.contains("HOLDFAST_LOG_FORCE"),
        "{}",
        help.stdout
    );
}

#[tokio::test]
async fn flag_precedes_variable_precedes_file_precedes_default() {
    let launch = Launch::private()
        .with("HOLDFAST_MAX_WAITLIST", "30")
        .with("HOLDFAST_DEMO_SIGN_IN", "no");
    let file = launch.data_dir().join("holdfast.toml");
    let text = "queue = 10\nmax_waitlist = 10\nmax_watchers = 10\ndemo_sign_in = true\n\
                admin_key = \"a-key-in-the-file\"\nload_buyers = 5\n";
    fs::write(&file, text).unwrap();
    let shown = launch.run(&["config", "--queue", "20"]).await;
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    let path = file.display();
    let data_dir = launch.data_dir().display();
    for line in [
        "queue = 20 # flag --queue",
        "max_waitlist = 30 # environment HOLDFAST_MAX_WAITLIST",
        &format!("max_watchers = 10 # file {path}:3"),
        "demo_sign_in = false # environment HOLDFAST_DEMO_SIGN_IN",
        &format!("# admin_key = ******** # file {path}:5"),
        &format!("load_buyers = 5 # file {path}:6"),
        "stream_interval_ms = 50 # default",
        "address_limit = \"600/60\" # default",
        &format!("data_dir = \"{data_dir}\" # environment HOLDFAST_DATA_DIR"),
        "# auditor_key: not set",
    ] {
        assert!(
            shown.stdout.lines().any(|shown| shown == line),
            "{line}\n{}",
            shown.stdout
        );
    }
    assert!(!shown.stdout.contains("a-key-in-the-file"));
    // What it prints is a file with settings.
    let copy = launch.data_dir().join("copy.toml");
    fs::write(&copy, &shown.stdout).unwrap();
    let arguments = ["config", "--config", copy.to_str().unwrap()];
    let again = launch.run(&arguments).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    let line = format!("queue = 20 # file {}:", copy.display());
    assert!(again.stdout.contains(&line), "{}", again.stdout);
}

/// The address of a database that is not there: a command that uses it says so.
const NOWHERE: &str = "postgres://127.0.0.1:1/nowhere";

#[tokio::test]
async fn flag_precedes_settings_of_the_environment_and_the_file_that_it_excludes() {
    let launch = Launch::private();
    let text = "audit_file = \"/nonexistent.ndjson\"\nprojections_all = true\nload_abandon = true\n\
                audit_compare = true\n";
    fs::write(launch.data_dir().join("holdfast.toml"), text).unwrap();
    let url = ["--database-url", NOWHERE];
    let away = "cannot connect to the database";
    let no_file = "/nonexistent.ndjson";
    for (variables, command, of_command, words) in [
        // Of two settings that exclude each other, the one of the higher level is used.
        (&[][..], &["audit", "verify"][..], &url[..], away),
        (
            &[("DATABASE_URL", NOWHERE)],
            &["audit", "verify"],
            &[],
            away,
        ),
        (
            &[("HOLDFAST_AUDIT_FILE", no_file)],
            &["audit", "verify"],
            &url,
            away,
        ),
        (&[], &["audit", "verify"], &[], no_file),
        (
            &[("DATABASE_URL", NOWHERE)],
            &["audit", "verify"],
            &["--file", "/nonexistent.ndjson"],
            no_file,
        ),
        (
            &[("DATABASE_URL", NOWHERE), ("HOLDFAST_AUDIT_COMPARE", "1")],
            &["audit", "replay"],
            &["--at", "1"],
            away,
        ),
        (
            &[("DATABASE_URL", NOWHERE), ("HOLDFAST_PROJECTIONS_ALL", "1")],
            &["projections", "rebuild"],
            &["live_stock"],
            away,
        ),
        (
            &[("DATABASE_URL", NOWHERE)],
            &["projections", "rebuild"],
            &[],
            away,
        ),
        (
            &[
                ("HOLDFAST_LOAD_ABANDON", "1"),
                ("HOLDFAST_ADMIN_KEY", "key"),
            ],
            &["load", "--url", "http://127.0.0.1:9"],
            &["--purchase"],
            "no response",
        ),
        (
            &[
                ("HOLDFAST_LOAD_PURCHASE", "1"),
                ("HOLDFAST_ADMIN_KEY", "key"),
            ],
            &["load", "--url", "http://127.0.0.1:9"],
            &["--abandon"],
            "no response",
        ),
        // Two values of one level are a mistake.
        (
            &[("HOLDFAST_AUDIT_AT", "1"), ("HOLDFAST_AUDIT_COMPARE", "1")],
            &["audit", "replay"],
            &[],
            "cannot be used with",
        ),
    ] {
        let launch = variables
            .iter()
            .fold(launch.clone(), |launch, (name, value)| {
                launch.with(name, value)
            });
        let ran = launch.run(&[command, of_command].concat()).await;
        assert_ne!(ran.code, Some(0), "{ran:?}");
        assert!(
            ran.stderr.contains(words),
            "{variables:?} {command:?}: {ran:?}"
        );
    }
    let both = launch.data_dir().join("both.toml");
    fs::write(&both, "audit_at = \"1\"\naudit_compare = true\n").unwrap();
    let replay = ["audit", "replay", "--config", both.to_str().unwrap()];
    let refused = launch.run(&replay).await;
    let line = format!(
        "holdfast: {}:2: audit_compare cannot be used with audit_at (line 1)\n",
        both.display()
    );
    assert_eq!((refused.code, refused.stderr), (Some(2), line));
}

#[tokio::test]
async fn value_in_the_file_satisfies_a_rule_that_asks_for_it() {
    let launch = Launch::private().with("DATABASE_URL", NOWHERE);
    let file = launch.data_dir().join("holdfast.toml");
    let id = "00000000-0000-0000-0000-000000000001";
    for (text, arguments) in [
        (
            "log_position = 1\nlog_reason = \"a test\"".to_owned(),
            &["log", "void"][..],
        ),
        (format!("audit_hold = \"{id}\""), &["audit", "history"]),
        (
            "audit_output = \"/nonexistent/events\"".to_owned(),
            &["audit", "export", "--resume"],
        ),
    ] {
        fs::write(&file, "").unwrap();
        let refused = launch.run(arguments).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("required"), "{refused:?}");
        fs::write(&file, text).unwrap();
        let ran = launch.run(arguments).await;
        assert!(
            ran.stderr.contains("cannot connect"),
            "{arguments:?}: {ran:?}"
        );
    }
    let none = launch.run(&["projections", "rebuild"]).await;
    assert_eq!(none.code, Some(2), "{none:?}");
    assert!(none.stderr.contains("--all"), "{none:?}");
}

#[tokio::test]
async fn global_flags_stand_before_and_after_a_command_and_others_after_it() {
    let launch = Launch::private();
    let file = launch.data_dir().join("shop.toml");
    fs::write(&file, "queue = 10\n").unwrap();
    let file = file.to_str().unwrap();
    let line = format!("queue = 10 # file {file}:1");
    for arguments in [
        &["--config", file, "config"][..],
        &["config", "--config", file],
        &["--config", file, "--log-format", "json", "config"],
    ] {
        let shown = launch.run(arguments).await;
        assert_eq!(shown.code, Some(0), "{arguments:?}: {shown:?}");
        assert!(shown.stdout.contains(&line), "{}", shown.stdout);
    }
    let inner = ["audit", "--config", "/nonexistent.toml", "verify"];
    let refused = launch.run(&inner).await;
    assert!(refused.stderr.contains("/nonexistent.toml"), "{refused:?}");
    let misplaced = launch.run(&["--queue", "5", "serve"]).await;
    let line = "holdfast: --queue stands before the command serve: flags of a command follow it\n";
    assert_eq!((misplaced.code, misplaced.stderr.as_str()), (Some(2), line));
}

#[tokio::test]
async fn command_that_needs_no_settings_reads_none() {
    // Unreadable for every user, as a file of another user is.
    let launch = Launch::private().with("HOLDFAST_QUEUE", "x");
    fs::create_dir(launch.data_dir().join("holdfast.toml")).unwrap();
    for arguments in [
        &["licences"][..],
        &["man"],
        &["completions", "bash"],
        &["theme", "example"],
        &["audit", "schema"],
    ] {
        let ran = launch.run(arguments).await;
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
    let refused = launch.with("HOLDFAST_QUEUE", "9").run(&["config"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("cannot read the settings in"),
        "{refused:?}"
    );
}

/// A collector of log lines reads nothing else.
#[tokio::test]
async fn failure_is_a_json_line_where_log_lines_are() {
    let launch = Launch::private();
    let file = launch.data_dir().join("json.toml");
    fs::write(&file, "log_format = \"json\"\n").unwrap();
    let with_file = ["--config", file.to_str().unwrap(), "serve", "--queue", "x"];
    let launch = launch.with("HOLDFAST_LISTEN", "127.0.0.1:0");
    let json = launch.clone().with("HOLDFAST_LOG_FORMAT", "json");
    for (launch, arguments, code, words) in [
        (&json, &["serve", "--queue", "x"][..], 2, "--queue"),
        (&json, &["serve", "--cue", "1"], 2, "--cue"),
        (&json, &["log", "void"], 2, "--reason"),
        (
            &json,
            &["serve", "--config", "/nonexistent.toml"],
            2,
            "/nonexistent.toml",
        ),
        (
            &json,
            &["serve", "--buyer-secret", ""],
            2,
            "HOLDFAST_BUYER_SECRET",
        ),
        (
            &json,
            &["serve", "--database-url", NOWHERE],
            1,
            "cannot connect",
        ),
        (&json, &["audit", "verify"], 2, "no log found"),
        (
            &launch,
            &["serve", "--log-format", "json", "--queue", "x"],
            2,
            "--queue",
        ),
        (&launch, &with_file, 2, "--queue"),
    ] {
        let ended = launch.run(arguments).await;
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        let lines: Vec<serde_json::Value> = ended
            .stderr
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let fatal = lines.last().unwrap();
        assert_eq!(
            (&fatal["level"], &fatal["target"]),
            (&"ERROR".into(), &"holdfast".into())
        );
        assert!(fatal["timestamp"].is_string(), "{fatal}");
        assert!(
            fatal["message"].as_str().unwrap().contains(words),
            "{fatal}"
        );
    }
}

#[tokio::test]
async fn help_shows_no_value_of_a_variable() {
    let secret = "https://ann:hunter2@127.0.0.1/hunter2";
    let launch = [
        "DATABASE_URL",
        "HOLDFAST_BUYER_JWKS",
        "HOLDFAST_PUBLIC_URL",
        "HOLDFAST_STRIPE_API_BASE",
        "HOLDFAST_WEBHOOK_NETWORKS",
        "HOLDFAST_DATA_DIR",
        "HOLDFAST_CONFIG",
    ]
    .iter()
    .fold(Launch::private(), |launch, name| launch.with(name, secret));
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["help", "demo"],
        &["audit", "-h"],
    ] {
        let help = launch.run(arguments).await;
        assert_eq!(help.code, Some(0), "{help:?}");
        assert!(!help.stdout.contains("hunter2"), "{}", help.stdout);
    }
    let help = launch.run(&["serve", "--help"]).await;
    assert!(
        help.stdout.contains("[env: HOLDFAST_BUYER_JWKS]"),
        "{}",
        help.stdout
    );
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

#[tokio::test]
async fn file_that_every_user_may_change_is_used_only_if_it_is_named() {
    let launch = Launch::private();
    let file = launch.data_dir().join("holdfast.toml");
    fs::write(&file, "queue = 10\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let refused = launch.run(&["config"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let line = format!("holdfast: {} belongs to another user, or", file.display());
    assert!(refused.stderr.starts_with(&line), "{refused:?}");
    let named = ["config", "--config", file.to_str().unwrap()];
    let named = launch.run(&named).await;
    assert!(named.stdout.contains("queue = 10 # file"), "{named:?}");
}

/// A command that is given a database must not work on another one.
#[tokio::test]
async fn direct_url_of_less_precedence_than_the_database_url_is_not_used() {
    let launch = Launch::private().with("HOLDFAST_DIRECT_URL", "mysql://127.0.0.1/other");
    let check = ["log", "check", "--database-url", NOWHERE];
    let checked = launch.run(&check).await;
    assert!(checked.stderr.contains("cannot connect"), "{checked:?}");
    let same_level = launch.clone().with("DATABASE_URL", NOWHERE);
    let same_level = same_level.run(&["log", "check"]).await;
    assert!(
        same_level.stderr.contains("HOLDFAST_DIRECT_URL"),
        "{same_level:?}"
    );
    let shown = launch.run(&["config", "--database-url", NOWHERE]).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(
        shown.stdout.contains("# direct_url: not set"),
        "{}",
        shown.stdout
    );
}

#[tokio::test]
async fn server_uses_the_file_in_its_data_directory() {
    let launch = Launch::fresh().await;
    let file = launch.data_dir().join("holdfast.toml");
    fs::write(&file, "max_watchers = 1\n").unwrap();
    let app = launch.start().await;
    let watcher = app.watch("").await;
    assert_eq!(watcher.status, 200);
    app.get("/v1/stream").await.problem(503, "unavailable");
}

#[tokio::test]
async fn faulty_file_is_refused_by_every_command_with_its_line() {
    let launch = Launch::private();
    let file = launch.data_dir().join("holdfast.toml");
    for (text, words) in [
        (
            "# typed\nqueue = \"9\"\n",
            ":2: queue must be a number, without quotes; it is a text",
        ),
        (
            "max_waitlst = 9\n",
            ":1: no setting is named max_waitlst (did you mean max_waitlist?)",
        ),
        (
            "listen = \"8080\"\n",
            ":1: listen \"8080\": must be HOST:PORT",
        ),
    ] {
        fs::write(&file, text).unwrap();
        for arguments in [&["serve"][..], &[], &["audit", "verify"], &["config"]] {
            let refused = launch.run(arguments).await;
            assert_eq!(refused.code, Some(2), "{arguments:?}: {refused:?}");
            let start = format!("holdfast: {}", file.display());
            assert!(refused.stderr.starts_with(&start), "{}", refused.stderr);
            assert!(refused.stderr.contains(words), "{}", refused.stderr);
            assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
        }
    }
    let help = launch.run(&["serve", "--help"]).await;
    assert_eq!(help.code, Some(0), "a faulty file does not prevent help");
    let missing = launch.run(&["audit", "verify", "--config", "/nonexistent.toml"]);
    let missing = missing.await;
    assert_eq!(missing.code, Some(2), "{missing:?}");
    let words = "holdfast: cannot read the settings in /nonexistent.toml: ";
    assert!(missing.stderr.starts_with(words), "{}", missing.stderr);
}

#[tokio::test]
async fn manual_and_completions_have_every_command() {
    let launch = Launch::private();
    let help = launch.run(&["--help"]).await.stdout;
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let commands = commands.split("\n\n").next().unwrap().lines();
    let commands: Vec<&str> = commands
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.contains(&"serve") && commands.contains(&"config"));
    let page = launch.run(&["man"]).await;
    assert_eq!(page.code, Some(0), "{page:?}");
    assert!(page.stdout.contains(".TH holdfast 1"), "{}", page.stdout);
    let folder = launch.data_dir().join("man1");
    let written = launch.run(&["man", folder.to_str().unwrap()]).await;
    assert_eq!((written.code, written.stderr.as_str()), (Some(0), ""));
    for command in &commands {
        let name = format!("holdfast\\-{command}(1)");
        assert!(page.stdout.contains(&name), "{name}: {}", page.stdout);
        let file = folder.join(format!("holdfast-{command}.1"));
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{text}");
    }
    let serve = fs::read_to_string(folder.join("holdfast-serve.1")).unwrap();
    assert!(serve.contains("HOLDFAST_MAX_WAITLIST"), "{serve}");
    for shell in ["bash", "zsh", "fish"] {
        let script = launch.run(&["completions", shell]).await;
        assert_eq!(script.code, Some(0), "{script:?}");
        for command in &commands {
            assert!(script.stdout.contains(command), "{shell}: {command}");
        }
        assert!(script.stdout.contains("max-waitlist"), "{shell}");
        if shell == "bash" {
            let file = launch.data_dir().join("completions");
            fs::write(&file, &script.stdout).unwrap();
            run(Command::new("bash").arg("-n").arg(&file));
        }
    }
    let unknown = launch.run(&["completions", "cmd"]).await;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
}
