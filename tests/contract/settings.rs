//! Settings: each a flag and a variable, read alike, and refused in words.

use harness::{App, Finished, Launch};

/// Runs the program where no server is needed to see what it makes of its settings.
async fn run_with(variables: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let launch = variables
        .iter()
        .fold(Launch::private(), |launch, (name, value)| {
            launch.with(name, value)
        });
    launch.run(arguments).await
}

#[tokio::test]
async fn a_server_listens_on_a_name_as_well() {
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
async fn a_variable_that_is_empty_counts_as_not_set() {
    let names = [
        "HOLDFAST_LISTEN",
        "HOLDFAST_ADMIN_KEY",
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
        "HOLDFAST_BUYER_TOKEN_MAX_SECONDS",
        "HOLDFAST_BUYER_LEEWAY_SECONDS",
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
        "RUST_LOG too: {}",
        app.stderr()
    );
    // Without a database it is the one in the data directory that is meant, and there is none.
    let empty = [
        ("DATABASE_URL", ""),
        ("HOLDFAST_AUDIT_FILE", ""),
        ("HOLDFAST_AUDIT_JSON", ""),
    ];
    let audited = run_with(&empty, &["audit", "verify"]).await;
    assert!(audited.stderr.contains("there is no log in"), "{audited:?}");
}

#[tokio::test]
async fn a_buyer_secret_that_is_empty_opens_nothing() {
    let empty = [("HOLDFAST_BUYER_SECRET", "")];
    for (variables, arguments) in [
        (&empty[..], &["serve"][..]),
        (&empty, &[]),
        (&empty, &["demo"]),
        (&[], &["serve", "--buyer-secret", ""]),
    ] {
        let refused = run_with(variables, arguments).await;
        assert_eq!(refused.code, Some(1), "{arguments:?}: {refused:?}");
        let words = refused.stderr.trim_end();
        assert!(words.contains("HOLDFAST_BUYER_SECRET"), "{words}");
        assert_eq!(words.lines().count(), 1, "{words}");
    }
    let refused = run_with(&[("HOLDFAST_BUYER_AUDIENCE", "")], &["serve"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("HOLDFAST_BUYER_AUDIENCE"),
        "{refused:?}"
    );
    // Who asks no buyer for a token need not know it.
    let audited = run_with(&empty, &["audit", "verify"]).await;
    assert!(audited.stderr.contains("there is no log in"), "{audited:?}");
}

#[tokio::test]
async fn a_switch_is_thrown_by_a_variable_in_any_of_the_usual_words() {
    let app = App::start().await;
    let audit = async |value: &str| {
        let launch = app.launch().clone().with("HOLDFAST_AUDIT_JSON", value);
        launch.run(&["audit", "verify"]).await
    };
    for on in ["1", "yes", "true", "TRUE", "on"] {
        let told = audit(on).await;
        assert!(told.stdout.trim_start().starts_with('{'), "{on}: {told:?}");
    }
    for off in ["0", "no", "false", "False", "off", ""] {
        let told = audit(off).await;
        assert!(
            told.stdout.starts_with("verified 0 events"),
            "{off}: {told:?}"
        );
    }
    let unclear = audit("maybe").await;
    assert_eq!(unclear.code, Some(2), "{unclear:?}");
    assert!(unclear.stderr.contains("--json"), "{}", unclear.stderr);
}

#[tokio::test]
async fn a_flag_goes_before_its_variable_and_a_switch_that_is_off_stands_in_no_others_way() {
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
async fn where_other_machines_reach_a_server_its_keys_must_be_given_and_short_ones_are_warned_of() {
    let everywhere = ["serve", "--listen", "0.0.0.0:0"];
    let refused = run_with(&[], &everywhere).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
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
        "it says what to do: {words}"
    );
    drop(app);
    let app = launch.start_at("127.0.0.1:0", &short).await;
    assert!(
        !app.stderr().contains("fewer than"),
        "nobody else can try: {}",
        app.stderr()
    );
    let help = run_with(&[], &["serve", "--help"]).await;
    assert!(help.stdout.contains("16"), "{}", help.stdout);
}

#[tokio::test]
async fn a_key_that_is_found_by_trying_is_refused_where_other_machines_reach_the_server() {
    for short in ["x", "key", "4444"] {
        let long = "sixteen-or-more-a";
        for (admin, auditor, name) in [
            (short, long, "the admin key"),
            (long, short, "the auditor key"),
        ] {
            let keys = ["serve", "--admin-key", admin, "--auditor-key", auditor];
            let everywhere = [&keys[..], &["--listen", "0.0.0.0:0"]].concat();
            let refused = run_with(&[], &everywhere).await;
            assert_eq!(refused.code, Some(1), "{refused:?}");
            let words = format!("{name} has {} characters", short.len());
            assert!(refused.stderr.contains(&words), "{refused:?}");
            if short == "x" {
                let app = Launch::fresh().await.start_at("127.0.0.1:0", &keys).await;
                app.logs(&words).await;
            }
        }
    }
}

#[tokio::test]
async fn a_short_buyer_secret_is_refused_where_other_machines_reach_the_server_and_warned_of_elsewhere()
 {
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
        assert_eq!(refused.code, Some(1), "{refused:?}");
        for words in [
            &format!("has {} bytes", short.len()),
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
        let warned = format!("the buyer secret has {} bytes", short.len());
        app.logs(&warned).await;
    }
}

#[tokio::test]
async fn a_start_without_a_buyers_secret_says_what_that_means_where_other_machines_reach_it() {
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
