//! Keys, secrets and tokens that a server refuses, or warns of.

use harness::Launch;

use super::run_with;

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
